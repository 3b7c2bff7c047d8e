"""What is odd about a clip, and the repair of NaN against a naive oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skelssl.data.build.checks import MAX_NAN_SHARE, examined, repaired
from skelssl.data.clip import PERSONS, PKU, RawClip
from skelssl.data.source import BadInput
from tests.helpers.bodies import body, clip_of, on, random_clip

T = 30
FIRST, SECOND = body(T, motion=0.3), body(T, seed=1)


def naive_repair(clip: RawClip) -> list[dict[int, np.ndarray]]:
    """The bodies of each frame left, by id; joint by joint and frame by frame."""
    frames = [
        {int(clip.body_id[r]): clip.bodies[r].astype(np.float64) for r in range(*clip.frame_ptr[f : f + 2])}
        for f in range(clip.n_frames)
    ]
    before = [len(frame) for frame in frames]
    for key in {key for frame in frames for key in frame}:
        there = [f for f, frame in enumerate(frames) if key in frame]
        bad = {v: [f for f in there if not np.isfinite(frames[f][key][v]).all()] for v in range(25)}
        for v, missing in bad.items():
            good = [f for f in there if f not in missing]
            if len(missing) > MAX_NAN_SHARE * len(there):
                continue
            for f in missing:
                low, high = [g for g in good if g < f][-1:], [g for g in good if g > f][:1]
                a, b = (low or high)[0], (high or low)[0]
                weight = (f - a) / (b - a) if a != b else 0.0
                frames[f][key][v] = (1 - weight) * frames[a][key][v] + weight * frames[b][key][v]
        for f in {f for missing in bad.values() if len(missing) > MAX_NAN_SHARE * len(there) for f in missing}:
            del frames[f][key]
    return [frame for frame, count in zip(frames, before, strict=True) if frame or count == 0]


@pytest.mark.parametrize("seed", range(12))
def test_repair_equals_its_definition_written_joint_by_joint(seed: int) -> None:
    clip, dice = random_clip(seed), np.random.default_rng(seed)
    share = np.where(dice.random(25) < 0.1, 0.5, 0.03)  # some joints are beyond hope
    hole = dice.random(clip.bodies.shape[:2]) < share * (dice.random((len(clip.bodies), 1)) < 0.5)
    clip.bodies[hole, dice.integers(0, 3)] = dice.choice([np.nan, np.inf, -np.inf])
    found, wanted = repaired(clip), naive_repair(clip)
    assert found.repaired == hole.sum() > 0
    assert found.n_frames == len(wanted)
    for f, frame in enumerate(wanted):
        rows = slice(*found.frame_ptr[f : f + 2])
        assert found.body_id[rows].tolist() == list(frame)
        for r, pose in zip(range(rows.start, rows.stop), frame.values(), strict=True):
            np.testing.assert_allclose(found.bodies[r], pose, atol=1e-5)
    assert len(found.track) == len(found.bodies) == found.frame_ptr[-1]


def test_a_fifth_of_the_frames_is_interpolated_and_more_is_left_out() -> None:
    for holes, frames in ((6, T), (7, T - 7)):
        clip = clip_of({1: on(range(T), FIRST.copy())}, T)
        clip.bodies[3 : 3 + holes, 9, 1] = np.nan
        found = examined(clip)
        assert (found.n_frames, found.repaired, found.codes) == (frames, holes, ("D12",))
        assert np.isfinite(found.bodies).all()


def test_one_body_may_lose_its_frames_while_the_other_stays() -> None:
    clip = clip_of({1: on(range(T), FIRST.copy()), 2: on(range(T), SECOND)}, T)
    clip.bodies[clip.body_id == 1] = np.nan
    found = examined(clip)
    assert found.body_id.tolist() == [2] * T
    np.testing.assert_array_equal(found.bodies, SECOND)
    clip.bodies[:] = np.nan
    with pytest.raises(BadInput, match="D12: NaN or infinite coordinates in every frame"):
        examined(clip)


def test_the_leading_frame_of_a_pku_clip_stays_the_first() -> None:
    x = np.stack([FIRST, np.zeros_like(FIRST)], axis=1)
    x[:10, 0, 5] = np.nan
    for form, frames, first in ((PERSONS, T - 10, 1), (PKU, T - 9, 0)):
        found = examined(RawClip.of_persons("a", 0, x, form=form))
        assert found.n_frames == frames
        assert np.diff(found.frame_ptr)[0] == first


def test_a_sound_clip_is_handed_on_as_it_is() -> None:
    clip = clip_of({1: on(range(T), FIRST)}, T)
    assert examined(clip) is clip


def test_codes_of_persons_do_not_ask_who_is_who() -> None:
    x = np.stack([FIRST, FIRST], axis=1)
    assert examined(RawClip.of_persons("a", 0, x)).codes == ("D34",)
    x[20:, 1] = 0
    assert examined(RawClip.of_persons("a", 0, x)).codes == ("D10", "D34")
    x[3:6, 1] = 0  # a person who comes and goes; ids would say D08
    x[:3, 1, 4] = 7
    assert examined(RawClip.of_persons("a", 0, x)).codes == ("D10",)
    with pytest.raises(BadInput, match="D13: every joint of every frame lies at the origin"):
        examined(RawClip.of_persons("a", 0, np.zeros_like(x)))


@pytest.mark.parametrize(("frames", "codes"), [(7, ("D15",)), (8, ()), (300, ()), (301, ("D14",))])
def test_lengths(frames: int, codes: tuple[str, ...]) -> None:
    assert examined(clip_of({1: on(range(frames), body(frames))}, frames)).codes == codes


def test_a_changed_id_is_no_ghost_and_a_ghost_is_no_changed_id() -> None:
    third = body(T, seed=2)
    changed = clip_of({1: on(range(T), FIRST), 2: on(range(15), SECOND[:15]), 3: on(range(15, T), third[15:])}, T)
    assert examined(changed).codes == ("D07",)
    ghosts = {1: on(range(T), FIRST), 2: on(range(3), SECOND[:3]), 3: on(range(20, 24), third[:4])}
    assert examined(clip_of(ghosts, T)).codes == ("D06", "D10")
    crowd = clip_of({1: on(range(T), FIRST), 2: on(range(T), SECOND), 3: on(range(T), third)}, T)
    assert examined(crowd).codes == ("D06",)


def test_codes_of_the_reader_are_kept() -> None:
    clip = replace(clip_of({1: on(range(5), FIRST[:5])}, 6), codes=("D05", "D03"))
    assert examined(clip).codes == ("D03", "D05", "D15")
