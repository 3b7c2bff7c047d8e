import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data import process_file
from skelssl.data.recipes import RecipeConfig
from skelssl.data.recipes.agcn import onto_axes
from skelssl.skeleton.layout import load_layout
from tests.helpers.bodies import body, clip_of, on
from tests.helpers.shared import golden_clips, shared

RECIPE = RecipeConfig("pyskl")
FIXED = RecipeConfig("pyskl", faithful=False)
ALIGNED = RecipeConfig("pyskl", align_spine=True)


def naive_normalise(x):
    """``PreNormalize3D`` without the turn, frame by frame and joint by joint."""
    there = [[t for t in range(len(x)) if (x[t, m] != 0).any()] for m in range(2)]
    main = 1 if len(there[1]) > len(there[0]) else 0
    out = []
    for t in there[main]:
        frame = np.zeros((2, 25, 3))
        for m in range(2):
            for v in range(25):
                joint = x[t, main if m == 0 else 1 - main, v]
                frame[m, v] = joint - x[there[main][0], main, 1] if (joint != 0).any() else 0
        out.append(frame)
    return np.array(out)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_published_steps_written_joint_by_joint(seed):
    dice = np.random.default_rng(seed)
    x = dice.normal(0, 1, (25, 2, 25, 3)).astype(np.float32)
    x[dice.random((25, 2)) < (0.2, 0.2 + 0.3 * (seed % 2))] = 0
    if seed == 3:
        x[:10, 0] = 0  # the second is the main person
    x[dice.random(x.shape[:3]) < 0.02] = 0
    expected = naive_normalise(x)
    np.testing.assert_allclose(RECIPE.build().normalise(x), expected, atol=1e-6)
    turn = onto_axes(expected[0, 0], load_layout("ntu25"))
    aligned = ALIGNED.build().normalise(x)
    np.testing.assert_allclose(aligned, expected @ turn.T, atol=1e-5)
    np.testing.assert_allclose((aligned[0, 0, 8] - aligned[0, 0, 4])[1:], 0, atol=1e-5)
    assert aligned.dtype == np.float32


def test_a_spine_square_to_the_shoulders_ends_on_z_and_they_on_x():
    """In general the turn of the shoulders tilts the spine again, as published."""
    body = load_layout("ntu25")
    base, mid, left, right = (body.index(n) for n in ("spine_base", "spine_mid", "shoulder_left", "shoulder_right"))
    x = np.random.default_rng(0).normal(0, 1, (3, 2, 25, 3)).astype(np.float32)
    spine = x[0, 0, mid] - x[0, 0, base]
    line = x[0, 0, right] - x[0, 0, left]
    x[0, 0, right] -= spine * (line @ spine) / (spine @ spine)
    found = ALIGNED.build().normalise(x)[0, 0]
    up, across = found[mid] - found[base], found[right] - found[left]
    np.testing.assert_allclose(up / np.linalg.norm(up), [0, 0, 1], atol=1e-5)
    np.testing.assert_allclose(across / np.linalg.norm(across), [1, 0, 0], atol=1e-5)
    np.testing.assert_array_equal(found[mid], 0)


def test_the_person_in_more_frames_becomes_the_first():
    x = np.zeros((12, 2, 25, 3), np.float32)
    x[:8, 0], x[2:, 1] = body(8), body(10, seed=1)
    normal = RECIPE.build().normalise(x)
    assert len(normal) == 10
    np.testing.assert_allclose(normal[:, 0], x[2:, 1] - x[2, 1, 1], atol=1e-6)
    np.testing.assert_allclose(normal[:6, 1], x[2:8, 0] - x[2, 1, 1], atol=1e-6)
    assert not normal[6:, 1].any()
    x[2:4, 1] = 0  # as many frames each: they stay
    assert np.array_equal(RECIPE.build().normalise(x)[0, 0, 1], np.zeros(3))
    assert len(RECIPE.build().normalise(x)) == 8


def test_empty_ends_go_and_a_person_who_is_there_first_comes_first():
    late, early = body(20, motion=0.3), body(30, seed=1)
    clip = clip_of(
        {1: on(range(5), body(5, seed=2)), 2: on(range(8, 38), early), 3: on(range(18, 38), late)}, 45
    )  # a ghost before, and nobody between
    keypoint = RECIPE.build().published(clip)
    assert keypoint.shape == (2, 30, 25, 3)
    assert keypoint.dtype == np.float16
    np.testing.assert_array_equal(keypoint[0], early.astype(np.float16))
    np.testing.assert_array_equal(keypoint[1, 10:], late.astype(np.float16))
    np.testing.assert_array_equal(RECIPE.build().select(clip)[:, 0], early)


def test_one_body_is_one_person_and_the_store_has_two():
    clip = clip_of({1: on(range(20), body(20)), 2: on(range(20, 25), body(5, seed=1))}, 25)
    recipe = RECIPE.build()
    assert recipe.published(clip).shape == (1, 20, 25, 3)
    x = recipe.select(clip)
    assert x.shape == (20, 2, 25, 3)
    assert not x[:, 1].any()


def test_one_person_under_two_ids_leaves_the_second_empty():
    clip = clip_of({1: on(range(15), body(15)), 2: on(range(15, 30), body(15, seed=1))}, 30)
    keypoint = RECIPE.build().published(clip)
    assert keypoint.shape == (2, 30, 25, 3)
    assert not keypoint[1].any()


def test_a_single_common_frame_makes_two_persons():
    clip = clip_of({1: on(range(20), body(20, motion=0.3)), 2: on(range(19, 39), body(20, seed=1))}, 39)
    assert RECIPE.build().select(clip)[:, 1].any()
    assert FIXED.build().select(clip)[:, 1].any()


def test_fixed_keeps_the_frames_of_a_body_that_returns():
    seen = [*range(15), *range(30, 45)]
    points, other = body(30, motion=0.3), body(45, seed=1)
    clip = clip_of({1: on(seen, points), 2: on(range(45), other)}, 45)
    np.testing.assert_array_equal(RECIPE.build().select(clip)[:30, 0], points)
    fixed = FIXED.build().select(clip)
    np.testing.assert_array_equal(fixed[seen, 0], points)
    assert not fixed[15:30, 0].any()


def test_errors():
    with pytest.raises(ValueError, match="no person is present"):
        RECIPE.build().normalise(np.zeros((5, 2, 25, 3), np.float32))
    with pytest.raises(ValueError, match="at the origin"):
        RECIPE.build().select(clip_of({1: on(range(3), np.zeros((3, 25, 3), np.float32))}, 3))
    with pytest.raises(UserError, match=r"fill: found copy, expected zero, since pyskl has no such option"):
        RecipeConfig("pyskl", single_person_fill="copy").build()


@shared
def test_equals_the_reference_on_real_and_damaged_files():
    for raw, golden in golden_clips("pyskl", "d_keypoint"):
        keypoint = process_file(raw, recipe="pyskl")
        assert keypoint.dtype == np.float16
        np.testing.assert_array_max_ulp(keypoint, golden["d_keypoint"], maxulp=1)
