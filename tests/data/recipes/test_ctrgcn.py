from dataclasses import replace

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data import process_file
from skelssl.data.clip import PKU
from skelssl.data.ntu.source import parse_skeleton
from skelssl.data.recipes import RecipeConfig
from tests.helpers.bodies import body, clip_of, on, random_clip
from tests.helpers.shared import golden_clips, shared

RECIPE = RecipeConfig("ctrgcn")
FIXED = RecipeConfig("ctrgcn", faithful=False)


def naive_normalise(x):
    """Frame by frame and joint by joint."""
    first = next(t for t in range(len(x)) if (x[t, 0] != 0).any())
    out = np.zeros_like(x)
    for t in range(len(x)):
        for m in range(2):
            if x[t, m].sum() != 0:
                for v in range(25):
                    out[t, m, v] = x[t, m, v] - x[first, 0, 1]
    return out


def test_equals_the_published_steps_written_joint_by_joint():
    compared = 0
    for seed in range(25):
        try:
            x = RECIPE.build().select(random_clip(seed))
        except ValueError:
            continue
        np.testing.assert_allclose(RECIPE.build().normalise(x), naive_normalise(x), atol=1e-6)
        compared += 1
    assert compared > 15


def test_origin_is_the_mid_spine_of_the_first_frame_that_shows_the_first_person():
    main, other = body(20, motion=0.3), body(30, seed=1)
    clip = clip_of({1: on(range(30), other), 2: on(range(10, 30), main)}, 30)
    x = RECIPE.build().normalise(RECIPE.build().select(clip))
    np.testing.assert_allclose(x[10:, 0], main - main[0, 1], atol=1e-6)
    np.testing.assert_allclose(x[:, 1], other - main[0, 1], atol=1e-6)
    assert not x[:10, 0].any()
    assert x.dtype == np.float32


def test_a_single_common_frame_is_overwritten_unless_fixed():
    clip = clip_of({1: on(range(20), body(20, motion=0.3)), 2: on(range(19, 39), body(20, seed=1))}, 39)
    assert not RECIPE.build().select(clip)[:, 1].any()
    assert FIXED.build().select(clip)[:, 1].any()


def test_frames_of_a_dropped_body_leave_the_clip():
    clip = clip_of({1: on(range(20), body(20)), 2: on(range(25, 30), body(5, seed=1))}, 30)
    np.testing.assert_array_equal(RECIPE.build().select(clip)[:, 0], body(20))


def test_a_sum_of_zero_is_absence_unless_fixed():
    points = body(20, motion=0.3)
    points[5] = np.resize([1.0, -1.0], (25, 3))
    points[5, 24, 2] = 0  # 75 numbers, 37 pairs
    points[7, 3] = 0
    clip = clip_of({1: on(range(20), points), 2: on(range(3), body(3))}, 20)
    assert len(RECIPE.build().select(clip)) == 19
    x = FIXED.build().select(clip)
    assert len(x) == 20
    normal = FIXED.build().normalise(x)
    assert normal[5].any()
    assert not normal[7, 0, 3].any()  # a joint that is not there stays so; published it moves with the others
    assert RECIPE.build().normalise(x)[7, 0, 3].any()


def test_only_the_published_form_cuts_at_300_frames():
    clip = clip_of({1: on(range(310), body(310))}, 310)
    assert len(RECIPE.build().select(clip)) == 300
    assert len(FIXED.build().select(clip)) == 310


@pytest.mark.parametrize("faithful", [True, False])
def test_one_person_becomes_two_where_asked(faithful):
    one = clip_of({1: on(range(20), body(20)), 2: on(range(3), body(3, seed=1))}, 20)
    two = clip_of({1: on(range(20), body(20)), 2: on(range(20), body(20, seed=1))}, 20)
    for fill in ("zero", "copy"):
        recipe = RecipeConfig("ctrgcn", faithful=faithful, single_person_fill=fill).build()
        x = recipe.normalise(recipe.select(one))
        np.testing.assert_array_equal(x[:, 1], x[:, 0] if fill == "copy" else 0)
        x = recipe.select(two)
        assert (x[:, 0] != x[:, 1]).all()


def test_one_person_under_two_ids_is_copied_only_where_fixed():
    clip = clip_of({1: on(range(15), body(15)), 2: on(range(15, 30), body(15, seed=1))}, 30)
    for faithful in (True, False):
        x = RecipeConfig("ctrgcn", faithful=faithful, single_person_fill="copy").build().select(clip)
        np.testing.assert_array_equal(x[:, 1], 0 if faithful else x[:, 0])


def test_pku_clips_are_not_cleaned():
    bodies = {0: on(range(6), body(6)), 1: on([2, 3], body(2, seed=1))}
    clip = replace(clip_of(bodies, 6, name="0291-R_011"), form=PKU)
    x = RecipeConfig("ctrgcn", pku_interval="after_start").build().select(clip)
    assert x.shape == (5, 2, 25, 3)
    np.testing.assert_array_equal(x[[1, 2], 1], body(2, seed=1))


@pytest.mark.parametrize("faithful", [True, False])
def test_without_a_centre_nothing_moves(faithful):
    clip = clip_of({1: on(range(20), body(20, motion=0.3)), 2: on(range(5, 20), body(15, seed=1))}, 20)
    recipe = RecipeConfig("ctrgcn", faithful=faithful, center=False).build()
    x = recipe.normalise(recipe.select(clip))
    np.testing.assert_array_equal(x[:, 0], body(20, motion=0.3))
    np.testing.assert_array_equal(x[5:, 1], body(15, seed=1))
    assert not x[:5, 1].any()
    with pytest.raises(ValueError, match="absent in every frame"):
        recipe.normalise(np.zeros((5, 2, 25, 3), np.float32))
    assert RecipeConfig("ctrgcn", center=False).id != RECIPE.id


def test_published_layout_is_one_frame_a_row():
    x = np.arange(3 * 150, dtype=np.float32).reshape(3, 2, 25, 3)
    rows = RECIPE.build().as_published(x)
    assert rows.shape == (3, 150)
    assert rows[1, 75 + 3 * 4 + 2] == x[1, 1, 4, 2]


def test_errors():
    with pytest.raises(ValueError, match="absent in every frame"):
        RECIPE.build().normalise(np.zeros((5, 2, 25, 3), np.float32))
    with pytest.raises(UserError, match=r"align_spine: found True, expected False, since ctrgcn has no such option"):
        RecipeConfig("ctrgcn", align_spine=True).build()


@shared
def test_equals_the_reference_on_real_and_damaged_files():
    for raw, golden in golden_clips("ctrgcn", "a_final"):
        selected = RECIPE.build().select(parse_skeleton(raw.read_bytes(), raw.stem)).reshape(-1, 150)
        width = golden["a_denoised"].shape[1]  # 75 where there is one body
        np.testing.assert_allclose(selected[:, :width], golden["a_denoised"], atol=1e-5)
        np.testing.assert_allclose(process_file(raw, recipe="ctrgcn"), golden["a_final"], atol=1e-5)
        twice = process_file(raw, recipe="ctrgcn", single_person_fill="copy")[:, 75:]
        expected = golden["a_final"][:, :75] if width == 75 else golden["a_final"][:, 75:]
        np.testing.assert_allclose(twice, expected, atol=1e-5)
