"""A caller's clips, gap by gap, against loops that do the same one number at a time."""

from __future__ import annotations

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.custom.clean import (
    TORSO,
    GapFreeClip,
    as_clip,
    at_rate,
    check_joints,
    in_metres,
    in_the_plane,
    two_persons,
    without_gaps,
)
from skelssl.data.poses import Poses
from skelssl.skeleton.layout import load_layout

NTU = load_layout("ntu25")


def clip(x, unit="m", fps=None):
    return as_clip(x, "clip", "ntu25", fps, unit)


def noise(frames=12, persons=1, joints=25, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, persons, joints, channels)).astype(np.float32)


def naive_fill(values):
    """One coordinate (T,) with NaN: linear between its neighbours, held at the ends."""
    known = [t for t, v in enumerate(values) if not np.isnan(v)]
    out = []
    for t, v in enumerate(values):
        before, after = [k for k in known if k <= t], [k for k in known if k >= t]
        if not before or not after:
            out.append(values[(before or after)[-1 if before else 0]])
        elif before[-1] == after[0]:
            out.append(v)
        else:
            a, b = before[-1], after[0]
            out.append(values[a] + (values[b] - values[a]) * (t - a) / (b - a))
    return np.array(out)


def test_gaps_are_linear_in_time_and_held_at_the_ends():
    x = noise(persons=2, seed=1)
    x[[0, 1, 4, 5, 11], 0, 3] = np.nan
    x[6, 1, 7, 1] = np.nan  # one coordinate is enough to be unseen
    found = without_gaps(clip(x))
    for person, joint in ((0, 3), (1, 7)):
        gaps = np.where(np.isfinite(x[:, person, joint]).all(-1, keepdims=True), x[:, person, joint], np.nan)
        for axis in range(3):
            wanted = naive_fill(gaps[:, axis].astype(float))
            np.testing.assert_allclose(found.x[:, person, joint, axis], wanted, rtol=1e-6)
    untouched = np.isfinite(x)
    np.testing.assert_array_equal(found.x[untouched & (np.arange(25) != 7)[:, None]],
                                  x[untouched & (np.arange(25) != 7)[:, None]])  # fmt: skip
    assert found.seen[4, 0, 3] == 0
    assert found.seen[3, 0, 3] == 1
    assert found.there.all()


def test_a_clip_without_gaps_stays_bit_for_bit():
    x = noise(persons=2)
    x[3:5, 1] = 0  # absent, as the house has it
    found = without_gaps(clip(x))
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.there[:, 1], [*[True] * 3, False, False, *[True] * 7])


def test_a_joint_that_is_never_seen_is_unknown_and_zero():
    x = noise()
    x[:, 0, 9] = np.nan
    found = without_gaps(clip(x))
    assert not found.known[0, 9]
    assert found.known.sum() == 24
    assert (found.x[:, 0, 9] == 0).all()


def test_a_person_is_there_between_the_first_and_the_last_sight_of_him():
    x = noise(persons=2, seed=2)
    x[:4, 1] = x[6, 1] = x[9:, 1] = np.nan
    found = without_gaps(clip(x))
    np.testing.assert_array_equal(np.flatnonzero(found.there[:, 1]), [4, 5, 6, 7, 8])
    assert (found.x[:4, 1] == 0).all()
    assert (found.x[9:, 1] == 0).all()
    np.testing.assert_allclose(found.x[6, 1], (x[5, 1] + x[7, 1]) / 2, atol=1e-6)


def test_ends_without_anybody_are_cut_off_and_persons_never_seen_left_out():
    x = noise(persons=3, seed=3)
    x[:2] = x[10:] = np.nan
    x[:, 0] = np.nan
    found = without_gaps(clip(x))
    np.testing.assert_array_equal(found.x, x[2:10, 1:])


def test_zeros_at_the_ends_are_kept():
    x = noise()
    x[0] = 0
    assert len(without_gaps(clip(x)).x) == 12


def test_poses_bring_confidence_layout_rate_and_unit():
    x, seen = noise(channels=2), np.full((12, 1, 25), 0.5, np.float32)
    seen[3, 0, 4] = 0
    poses = Poses("one", x * (seen > 0)[..., None], seen, "ntu25", 25.0, "px")
    found = as_clip(poses, "clip", "ntu25", None, None)
    assert (found.fps, found.unit) == (25.0, "px")
    filled = without_gaps(found)
    np.testing.assert_allclose(filled.x[3, 0, 4], (x[2, 0, 4] + x[4, 0, 4]) / 2, atol=1e-6)
    assert filled.seen[3, 0, 4] == 0
    assert filled.seen[2, 0, 4] == 0.5
    given = as_clip(poses, "clip", "ntu25", 50, "m")
    assert (given.fps, given.unit) == (50, "m")


@pytest.mark.parametrize(("fps", "frames"), [(25, 7), (15, 4), (60, 13), (29.97, 31), (120, 3), (10, 1)])
def test_resampling_keeps_straight_motion_straight(fps, frames):
    """A joint at x = t seconds stays at t seconds, at each of the times 0, 1/30, 2/30 that the clip covers."""
    x = np.broadcast_to((np.arange(frames) / fps)[:, None, None, None], (frames, 1, 25, 3)).astype(np.float32)
    start = GapFreeClip(x, np.ones((frames, 1, 25), np.float32), np.ones((frames, 1), bool), np.ones((1, 25), bool))
    found = at_rate(start, fps)
    times = [k / 30 for k in range(1000) if k / 30 <= (frames - 1) / fps + 1e-9]
    np.testing.assert_allclose(found.x[:, 0, 0, 0], times, atol=1e-6)
    assert found.there.all()


def test_resampling_makes_nobody_out_of_half_a_person():
    x = noise(frames=11)
    there = np.ones((11, 1), bool)
    there[5] = False
    x[5] = 0
    found = at_rate(GapFreeClip(x, np.ones((11, 1, 25), np.float32), there, np.ones((1, 25), bool)), 15)
    np.testing.assert_array_equal(np.flatnonzero(~found.there[:, 0]), [9, 10, 11])
    assert (found.x[9:12] == 0).all()
    np.testing.assert_array_equal(found.x[::2][~np.isin(np.arange(11), [5])], x[np.arange(11) != 5])


@pytest.mark.parametrize("fps", [None, 30, 30.0])
def test_the_rate_of_the_data_sets_changes_nothing(fps):
    start = without_gaps(clip(noise()))
    assert at_rate(start, fps) is start


def test_units():
    x, start = noise(), without_gaps(clip(noise()))
    for unit, factor in (("m", 1), ("cm", 0.01), ("mm", 0.001)):
        np.testing.assert_allclose(in_metres(start, unit, NTU, "clip").x, x * factor, rtol=1e-6)
    for unit in ("px", "auto", "unknown"):
        scaled = in_metres(start, unit, NTU, "clip").x[:, 0]
        torso = np.linalg.norm(scaled[:, NTU.index("spine_base")] - scaled[:, NTU.index("spine_shoulder")], axis=-1)
        assert np.median(torso) == pytest.approx(TORSO, rel=1e-5)
        np.testing.assert_allclose(scaled / x[:, 0], scaled[0, 0, 0] / x[0, 0, 0, 0], rtol=1e-4)


def test_pixels_of_an_array_count_to_the_right_and_downwards():
    x = noise(channels=2)
    np.testing.assert_array_equal(clip(x, "px").x, x * [-1, -1])
    np.testing.assert_array_equal(clip(x, "auto").x, x)
    assert clip(x, None).unit == "px"
    assert as_clip(x, "clip", "ntu25", None, None, flat_unit="auto").unit == "auto"
    assert clip(noise(), None).unit == "m"


def test_a_third_number_is_a_confidence_or_refused():
    x = noise()
    with pytest.raises(UserError, match=r"clip: found third numbers from -.* expected confidences in \[0, 1\]"):
        in_the_plane(clip(x), confidence=True)
    x[..., 2] = 0.5
    assert in_the_plane(clip(x), confidence=True).seen.max() == 0.5


def test_the_two_who_move_most_stay():
    x = np.zeros((20, 4, 25, 3), np.float32) + 1
    for person, speed in enumerate((0.0, 0.3, 0.1, 0.2)):
        x[:, person, :, 0] += speed * np.arange(20)[:, None]
    x[6:, 1] = 0  # fast, but soon gone: 1.5 metres, against 3.8 and 1.9
    kept, left_out = two_persons(without_gaps(clip(x)))
    assert left_out == 2
    np.testing.assert_array_equal(kept.x, x[:, [3, 2]])
    same, none = two_persons(without_gaps(clip(x[:, :2])))
    assert none == 0
    np.testing.assert_array_equal(same.x, x[:, :2])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 25)), r"clip: found shape \(5, 25\), expected \(T, V, C\) or \(T, M, V, C\) with C = 2 or 3"),
        (np.zeros((5, 25, 4)), r"clip: found shape \(5, 25, 4\), expected"),
        (np.zeros((0, 25, 3)), r"clip: found shape \(0, 25, 3\), expected at least one frame and one person"),
        (np.array([["a"]]), r"clip: found <U1 in the array, expected numbers"),
    ],
)
def test_other_arrays_are_one_sentence(x, message):
    with pytest.raises(UserError, match=message):
        clip(x)


def test_other_mistakes_are_one_sentence():
    with pytest.raises(UserError, match=r"unit: found 'inch', expected one of m, cm, mm"):
        clip(noise(), "inch")
    with pytest.raises(UserError, match=r"fps: found 0, expected a number from 1 to 1000"):
        clip(noise(), fps=0)
    with pytest.raises(UserError, match=r"clip: found 17 joints in shape .*, expected 25 of layout ntu25"):
        check_joints(clip(noise(joints=17)), NTU)
    with pytest.raises(UserError, match=r"clip: found no person in any of 12 frames"):
        without_gaps(clip(np.full((12, 25, 3), np.nan)))
    with pytest.raises(UserError, match=r"clip: found no person in any of 12 frames"):
        without_gaps(clip(np.zeros((12, 25, 3))))
    headless = noise()
    headless[:, :, NTU.index("spine_base")] = np.nan
    with pytest.raises(UserError, match=r"clip: found no spine_base to scale the torso by"):
        in_metres(without_gaps(clip(headless)), "auto", NTU, "clip")
