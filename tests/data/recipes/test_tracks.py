from dataclasses import replace

import numpy as np
import pytest

from skelssl.data.clip import PKU
from skelssl.data.recipes.tracks import as_stored, denoise, in_interval, listed, two_people
from tests.helpers.bodies import body, clip_of, on, random_clip


def naive_people(clip, common):
    """The published selection, frame by frame and body by body; ``common`` frames may be shared by mistake."""
    found, valid = {}, -1
    for f in range(clip.n_frames):
        rows = range(clip.frame_ptr[f], clip.frame_ptr[f + 1])
        valid += len(rows) > 0
        for r in rows:
            key = int(clip.body_id[r])
            found.setdefault(key, {"start": valid, "points": []})["points"].append(clip.bodies[r])
    bodies = list(found.values())
    for one in bodies:
        one["points"] = np.array(one["points"])
        one["motion"] = sum(one["points"][..., c].astype(float).var() for c in range(3))
    if len(bodies) > 1:
        bodies = [one for one in bodies if len(one["points"]) > 11]
        assert bodies
    for one in list(bodies):
        if len(bodies) == 1:
            break
        good = [p for p in one["points"] if p[:, 0].max() - p[:, 0].min() <= 0.8 * (p[:, 1].max() - p[:, 1].min())]
        bad = len(one["points"]) - len(good)
        if bad / len(one["points"]) >= 0.69754:
            bodies = [other for other in bodies if other is not one]
        elif bad:
            one["motion"] = min(one["motion"], sum(np.array(good)[..., c].astype(float).var() for c in range(3)))
    bodies.sort(key=lambda one: -one["motion"])
    x, hull = np.zeros((valid + 1, 2, 25, 3), np.float32), [None, (0, common - 1)]
    for one in bodies:
        start, end = one["start"], one["start"] + len(one["points"]) - 1
        for slot in range(2):
            if hull[slot] is None or min(hull[slot][1], end) - max(hull[slot][0], start) + 1 <= common:
                x[start : end + 1, slot] = one["points"]
                first, last = hull[slot] or (start, end)
                hull[slot] = min(first, start), max(last, end)
                break
    return x, len(bodies)


@pytest.mark.parametrize("common", [0, 1])
def test_equals_the_published_selection_written_frame_by_frame(common):
    counts = []
    for seed in range(60):
        clip = random_clip(seed)
        try:
            expected, bodies = naive_people(clip, common)
        except AssertionError:
            with pytest.raises(ValueError, match="fewer than 12 frames"):
                two_people(clip, faithful=True, overlap=common)
            continue
        found, count = two_people(clip, faithful=True, overlap=common)
        np.testing.assert_array_equal(found, expected)
        assert count == bodies
        counts.append(count)
    assert set(counts) >= {1, 2, 3}


def test_a_body_that_returns_keeps_its_frames_unless_faithful():
    still, seen = body(90, motion=0.05), [*range(20), *range(35, 70)]
    comes = body(55, seed=1, motion=0.3)
    clip = clip_of({1: on(range(90), still), 2: on(seen, comes)}, 90)
    published, _ = two_people(clip, faithful=True)
    np.testing.assert_array_equal(published[:55, 0], comes)  # frames 35-69 slid to 20-54
    assert not published[55:, 0].any()
    fixed, _ = two_people(clip, faithful=False)
    np.testing.assert_array_equal(fixed[seen, 0], comes)
    assert not fixed[20:35, 0].any()
    for x in (published, fixed):
        np.testing.assert_array_equal(x[:, 1], still)


def test_one_common_frame_is_overwritten_only_where_asked():
    first, second = body(20, motion=0.3), body(20, seed=1, motion=0.1)
    clip = clip_of({1: on(range(20), first), 2: on(range(19, 39), second)}, 39)
    merged, _ = two_people(clip, faithful=True, overlap=1)
    np.testing.assert_array_equal(merged[:, 0], np.concatenate([first[:19], second]))
    assert not merged[:, 1].any()
    for apart in (two_people(clip, faithful=True)[0], two_people(clip, faithful=False)[0]):
        np.testing.assert_array_equal(apart[:20, 0], first)
        np.testing.assert_array_equal(apart[19:, 1], second)
        assert not apart[20:, 0].any()


def test_a_body_that_fits_into_a_gap_joins_the_first_person_unless_faithful():
    ends, gap = [*range(15), *range(30, 45)], range(15, 30)
    before, after, between = body(15, motion=0.3), body(15, seed=1, motion=0.2), body(15, seed=2, motion=0.1)
    clip = clip_of({1: on(ends[:15], before), 2: on(ends[15:], after), 3: on(gap, between)}, 45)
    published, _ = two_people(clip, faithful=True, overlap=1)
    np.testing.assert_array_equal(published[gap, 1], between)
    fixed, _ = two_people(clip, faithful=False)
    np.testing.assert_array_equal(fixed[:, 0], np.concatenate([before, between, after]))
    assert not fixed[:, 1].any()


def test_the_second_person_reaches_back_to_the_first_frame_unless_fixed():
    main, late, early = body(40, motion=0.5), body(20, seed=1, motion=0.2), body(15, seed=2, motion=0.05)
    clip = clip_of({1: on(range(40), main), 2: on(range(20, 40), late), 3: on(range(15), early)}, 40)
    for overlap in (0, 1):
        published, _ = two_people(clip, faithful=True, overlap=overlap)
        np.testing.assert_array_equal(published[20:, 1], late)
        assert not published[:20, 1].any()  # the third body fits, but is dropped
    np.testing.assert_array_equal(two_people(clip, faithful=False)[0][:15, 1], early)


def test_where_all_bodies_are_short_the_longest_is_kept_unless_faithful():
    clip = clip_of({1: on(range(5), body(5, motion=1)), 2: on(range(5, 16), body(11, seed=1))}, 16)
    with pytest.raises(ValueError, match="every body is listed in fewer than 12 frames"):
        two_people(clip, faithful=True)
    x, count = two_people(clip, faithful=False)
    assert count == 1
    np.testing.assert_array_equal(x[5:, 0], body(11, seed=1))
    assert not x[:5].any()


def test_one_body_is_never_noise():
    only = body(3, wide=range(3))
    x, count = two_people(clip_of({1: on(range(3), only)}, 3), faithful=True)
    np.testing.assert_array_equal(x[:, 0], only)
    assert count == 1


def test_a_body_is_too_wide_from_seven_frames_in_ten():
    upright = body(20, motion=0.05)
    for bad, left in ((13, 2), (14, 1)):  # 0.65 and 0.70 of 20 frames
        lies = body(20, seed=1, motion=1, wide=range(bad))
        clip = clip_of({1: on(range(20), upright), 2: on(range(20), lies)}, 20)
        assert len(denoise(listed(clip, contiguous=True)[0], keep_longest=False)) == left


def test_motion_of_a_body_with_wide_frames_is_that_of_the_good_ones():
    upright, lies = body(20, motion=0.3), body(20, seed=1, motion=0.01, wide=range(5))
    clip = clip_of({1: on(range(20), lies), 2: on(range(20), upright)}, 20)
    tracks = denoise(listed(clip, contiguous=True)[0], keep_longest=False)
    expected = [upright.reshape(-1, 3).var(0).sum(), lies[5:].reshape(-1, 3).var(0).sum()]
    assert [track.motion for track in tracks] == pytest.approx(expected)


def test_ids_that_collide_as_floats_are_two_people():
    a, b = 72057594037944738, 72057594037944734
    assert float(a) == float(b)
    x, count = two_people(clip_of({a: on(range(12), body(12)), b: on(range(12), body(12, seed=1))}, 12), faithful=True)
    assert count == 2
    assert x.any((2, 3)).all()


def test_the_order_of_the_list_does_not_matter():
    ahead, behind = body(30, motion=0.3), body(30, seed=1)
    clip = clip_of({1: on(range(30), ahead), 2: on(range(30), behind)}, 30)
    turned = clip_of({2: on(range(30), behind), 1: on(range(30), ahead)}, 30)
    for faithful in (True, False):
        np.testing.assert_array_equal(*(two_people(c, faithful=faithful)[0] for c in (clip, turned)))


def test_a_body_listed_twice_in_a_frame_is_an_error_of_the_clip():
    clip = clip_of({1: on(range(2), body(2)), 2: on(range(2), body(2))}, 2)
    clip.body_id[:] = 1
    with pytest.raises(ValueError, match="body 1 is listed twice in one frame"):
        two_people(clip, faithful=True)


def test_a_clip_without_bodies_is_an_error_of_the_clip():
    with pytest.raises(ValueError, match="no frame lists a body"):
        two_people(clip_of({}, 4), faithful=True)


def test_pku_clips_stay_as_stored_and_may_lose_their_leading_frame():
    one, two = body(4), body(2, seed=1)
    bodies = {0: on(range(4), one), 1: on([1, 3], two)}
    clip = replace(clip_of(bodies, 4, name="A10N08-L_003"), form=PKU)
    kept = as_stored(in_interval(clip, "inclusive"))
    np.testing.assert_array_equal(kept[:, 0], one)
    np.testing.assert_array_equal(kept[[1, 3], 1], two)
    assert not kept[[0, 2], 1].any()
    np.testing.assert_array_equal(as_stored(in_interval(clip, "after_start")), kept[1:])
    ntu = clip_of(bodies, 4)
    assert as_stored(ntu) is None
    assert in_interval(ntu, "after_start") is ntu
