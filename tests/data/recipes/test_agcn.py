import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data import process_file
from skelssl.data.ntu.source import parse_skeleton
from skelssl.data.recipes import RecipeConfig
from skelssl.data.recipes.agcn import onto_axes
from skelssl.skeleton.layout import load_layout
from tests.helpers.bodies import body, clip_of, on, random_clip
from tests.helpers.shared import golden_clips, shared

NTU25 = load_layout("ntu25")
RECIPE = RecipeConfig("agcn")
FIXED = RecipeConfig("agcn", faithful=False)


def naive_turn(vector, target):
    """Euler-Rodrigues; zero and (anti-)parallel vectors are left alone."""
    axis = np.cross(vector, target)
    if np.abs(vector).sum() < 1e-6 or np.abs(axis).sum() < 1e-6:
        return np.eye(3)
    angle = np.arccos(np.clip(vector @ target / np.linalg.norm(vector), -1, 1))
    a, (b, c, d) = np.cos(angle / 2), np.sin(angle / 2) * axis / np.linalg.norm(axis)
    return np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip


def naive_normalise(x, frames):
    """The published steps in float64, frame by frame and joint by joint, (T, 2, V, 3) -> (frames, 2, V, 3)."""
    s = np.zeros((2, frames, 25, 3))
    s[:, : len(x)] = x.transpose(1, 0, 2, 3)
    for person in s:
        if not person.any():
            continue
        if not person[0].any():
            kept = [frame.copy() for frame in person if frame.any()]
            person[:] = 0
            person[: len(kept)] = kept
        for f in range(frames):
            if not person[f:].any():
                for k in range(f, frames):
                    person[k] = person[k - f]
                break
    main = s[0, :, 1].copy()
    for person in s:
        for f in range(frames):
            for v in range(25):
                if person[f, v].sum() != 0:
                    person[f, v] -= main[f]
    for bottom, top, target in ((0, 1, (0, 0, 1)), (4, 8, (1, 0, 0))):
        turn = naive_turn(s[0, 0, top] - s[0, 0, bottom], np.array(target))
        for person in s:
            for f in range(frames):
                for v in range(25):
                    person[f, v] = turn @ person[f, v]
    return s.transpose(1, 0, 2, 3)


def with_gaps(seed):
    """Two persons of which either may begin late, end early and have gaps; the second may be absent throughout."""
    dice = np.random.default_rng(seed)
    x = dice.normal(0, 1, (30, 2, 25, 3)).astype(np.float32)
    x[dice.random((30, 2)) < 0.2] = 0
    for m in range(2):
        x[: dice.choice([0, 0, 4]), m] = 0
        x[30 - dice.choice([0, 7, 11]) :, m] = 0
    x[dice.random(x.shape[:3]) < 0.02] = 0
    if seed % 4 == 0:
        x[:, 1] = 0
    if seed % 4 == 1:
        first = np.flatnonzero(x[:, 0].any((1, 2)))[0]
        x[first, 0, :2] = [(0, 0, 2), (0, 0, 1)]  # the spine points the opposite way
    return x


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_published_steps_written_joint_by_joint(seed):
    x, recipe = with_gaps(seed), RECIPE.build()
    np.testing.assert_allclose(recipe.normalise(x), naive_normalise(x, 30), atol=1e-5)
    np.testing.assert_allclose(recipe._normalise(x, 75), naive_normalise(x, 75), atol=1e-5)


def test_the_store_holds_the_head_of_what_is_published():
    clip = clip_of({1: on(range(40), body(40)), 2: on(range(5, 25), body(20, seed=1, motion=0.02))}, 40)
    recipe = RECIPE.build()
    stored, published = recipe.normalise(recipe.select(clip)), recipe.published(clip)
    assert stored.shape == (40, 2, 25, 3)
    assert published.shape == (3, 300, 25, 2)
    np.testing.assert_array_equal(published[:, :40], recipe.as_published(stored))
    np.testing.assert_allclose(published[..., 0], np.tile(published[:, :40, :, 0], (1, 8, 1))[:, :300], atol=1e-6)
    # The second repeats every 20 frames against a first who repeats every 40, so the head alone does not give the rest.
    assert np.abs(published[:, 40:80, :, 1] - published[:, :40, :, 1]).max() < 1e-6
    short = clip_of({1: on(range(40), body(40)), 2: on(range(25), body(25, seed=1, motion=0.02))}, 40)
    published = recipe.published(short)
    assert np.abs(published[:, 40:80, :, 1] - published[:, :40, :, 1]).max() > 1e-2


def golden_input():
    ramp = np.sin(0.37 * np.arange(3 * 20 * 25 * 2)).reshape(3, 20, 25, 2)
    raw = ramp + np.array([0.3, 0.5, 3.0])[:, None, None, None]
    raw[:, [0, 1, *range(12, 20)], :, 0] = 0
    raw[:, [6, 7, *range(10, 20)], :, 1] = 0
    return raw.astype(np.float32).transpose(1, 3, 2, 0)


def test_golden_of_the_specification():
    x = RECIPE.build().normalise(golden_input())
    assert x[:, 0].any((1, 2)).all()
    np.testing.assert_array_equal(x[10, 0], x[0, 0])
    assert np.flatnonzero(~x[:, 1].any((1, 2))).tolist() == [6, 7, 16, 17]
    assert not x[0, 0, 1].any()
    np.testing.assert_allclose(x[0, 0, 0], (0.5778493, 0.0038541, -0.5344154), atol=1e-5)
    np.testing.assert_allclose(x[0, 0, 8] - x[0, 0, 4], (2.9129658, 0, 0), atol=1e-5)
    np.testing.assert_allclose(x[0, 0, 20], (-1.9763550, 0.0016935, -0.2348390), atol=1e-5)
    np.testing.assert_allclose(x[0, 1, 3], (-2.2314548, 0.0083580, -1.1589445), atol=1e-5)
    np.testing.assert_allclose(x[13, 1, 3], (-2.5841380, -0.0041560, 0.5762646), atol=1e-5)
    assert x[:, 0].sum() == pytest.approx(-190.7222, abs=1e-3)
    assert x[:, 1].sum() == pytest.approx(-252.5087, abs=1e-3)
    assert np.abs(x).sum() == pytest.approx(1761.4907, abs=1e-3)


def test_a_turn_is_a_rotation_and_ends_on_the_shoulder_line():
    pose = body(1, seed=3)[0]
    turn = onto_axes(pose, NTU25)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    line = turn @ (pose[8] - pose[4])
    np.testing.assert_allclose(line / np.linalg.norm(line), (1, 0, 0), atol=1e-12)
    np.testing.assert_array_equal(onto_axes(np.zeros((25, 3), np.float32), NTU25), np.eye(3))


def test_places_are_taken_by_scatter_and_swap_with_the_order_of_the_list():
    quick, slow = body(20, motion=0.5), body(20, seed=1, motion=0.05)
    third, fifth = body(20, seed=2, motion=0.2), body(20, seed=3, motion=5)
    clip = clip_of({k: on(range(20), b) for k, b in enumerate((slow, quick, third, third * 0.1, fifth))}, 20)
    x = RECIPE.build().select(clip)  # the fifth place is not read
    np.testing.assert_array_equal(x[:, 0], quick)
    np.testing.assert_array_equal(x[:, 1], third)


def test_fixed_tracks_ids_and_drops_empty_frames():
    quick, slow = body(30, motion=0.5), body(30, seed=1, motion=0.05)
    swap = clip_of({1: on(range(15), quick[:15]), 2: on(range(30), slow), 3: on(range(15, 30), quick[15:])}, 32)
    swapped = RECIPE.build().select(swap)
    assert len(swapped) == 32
    mixed = np.concatenate([quick[:15], slow[15:]])
    assert any(np.array_equal(swapped[:30, person], mixed) for person in range(2))
    fixed = FIXED.build().select(swap)
    assert len(fixed) == 30
    np.testing.assert_array_equal(fixed[:, 0], quick)
    np.testing.assert_array_equal(fixed[:, 1], slow)


def test_fixed_keeps_one_time_line_and_holds_the_spine():
    quick, slow = body(15, motion=0.5), body(20, seed=1, motion=0.05)
    late = np.zeros((20, 2, 25, 3), np.float32)
    late[5:, 0], late[:, 1] = quick, slow
    x = FIXED.build().normalise(late)
    assert not x[:5, 0].any()
    turn = onto_axes(quick[0], NTU25).astype(np.float32)
    spine = np.concatenate([np.tile(quick[0, 1], (5, 1)), quick[:, 1]])[:, None]
    np.testing.assert_allclose(x[5:, 0], (quick - spine[5:]) @ turn.T, atol=1e-5)
    np.testing.assert_allclose(x[:, 1], (slow - spine) @ turn.T, atol=1e-5)
    gone = late[::-1]  # later he is held where he was last
    np.testing.assert_allclose(
        FIXED.build().normalise(gone)[15:, 1],
        (gone[15:, 1] - gone[14, 0, 1]) @ onto_axes(gone[0, 0], NTU25).T,
        atol=1e-5,
    )


def test_fixed_is_published_as_a_repetition():
    clip = clip_of({1: on(range(40), body(40)), 2: on(range(5, 25), body(20, seed=1, motion=0.02))}, 40)
    recipe = FIXED.build()
    x = recipe.as_published(recipe.normalise(recipe.select(clip)))
    np.testing.assert_allclose(recipe.published(clip), np.tile(x, (1, 8, 1, 1))[:, :300], atol=1e-6)


def test_only_the_published_form_cuts_at_300_frames():
    clip = clip_of({1: on(range(310), body(310))}, 310)
    assert len(RECIPE.build().select(clip)) == 300
    assert len(FIXED.build().select(clip)) == 310


def test_nobody_is_zero_in_both_forms():
    for seed in range(6):
        for config in (RECIPE, FIXED):
            try:
                x = config.build().select(random_clip(seed))
            except ValueError:
                continue
            assert np.isfinite(config.build().normalise(x)).all()
    empty = np.zeros((5, 2, 25, 3), np.float32)
    for config in (RECIPE, FIXED):
        with pytest.raises(ValueError, match="absent in every frame"):
            config.build().normalise(empty)


def test_arguments_it_does_not_have():
    for extra in ({"align_spine": True}, {"single_person_fill": "copy"}):
        with pytest.raises(UserError, match=r"method\.recipe\.\w+: found .* since agcn has no such option"):
            RecipeConfig("agcn", **extra).build()


@shared
def test_equals_the_reference_on_real_and_damaged_files():
    recipe = RECIPE.build()
    for raw, golden in golden_clips("agcn", "c_joint"):
        np.testing.assert_allclose(process_file(raw, recipe="agcn"), golden["c_joint"], atol=1e-5)
        selected = recipe.select(parse_skeleton(raw.read_bytes(), raw.stem))
        np.testing.assert_allclose(recipe.as_published(selected), golden["c_raw"], atol=1e-5)
        stored = recipe.as_published(recipe.normalise(selected))
        np.testing.assert_allclose(stored, golden["c_joint"][:, : int(golden["c_num_frame"])], atol=1e-5)
