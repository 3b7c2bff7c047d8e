import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from skelssl.data import process_file
from skelssl.data.clip import RawClip
from skelssl.data.recipes import RecipeConfig
from skelssl.data.recipes.aimclr import resize
from skelssl.errors import UserError
from tests.helpers.shared import golden_clips, shared

RECIPE = RecipeConfig("aimclr")


def clip_of(x: np.ndarray) -> RawClip:
    """A clip with one body per frame and person, (T, P, V, 3)."""
    frames, persons = x.shape[:2]
    rows = frames * persons
    return RawClip(
        "S001C001P001R001A001", 0, x.reshape(rows, *x.shape[2:]).astype(np.float32),
        np.tile(np.arange(persons), frames), np.full((rows, x.shape[2]), 2, np.uint8),
        np.arange(0, rows + 1, persons),
    )  # fmt: skip


def golden_input() -> np.ndarray:
    c, t, v = np.ogrid[:3, :300, :25]
    raw = np.sin(0.9 * c + 0.05 * t + 0.31 * v) + 0.02 * v + 0.3 * c
    raw[:, 70:] = 0
    raw[:, 20, 0] = 0
    x = np.zeros((300, 2, 25, 3), np.float32)
    x[:, 0] = raw.transpose(1, 2, 0)
    return x


def test_golden_of_the_specification():
    out = RECIPE.build().normalise(golden_input())
    assert out.shape == (50, 2, 25, 3)
    assert out.dtype == np.float32
    assert out.sum() == pytest.approx(771.0286, abs=2e-3)
    assert np.abs(out).sum() == pytest.approx(3027.521, abs=2e-3)
    np.testing.assert_allclose(out[0, 0, 8], (-2.178455, -1.220623, 0.159931), atol=1e-5)
    np.testing.assert_allclose(out[0, 0, 4], (-1.361243, -0.218284, -0.343993), atol=1e-5)
    np.testing.assert_allclose(out[25, 0, 11], (2.070040, -0.972802, 0.777862), atol=1e-5)
    np.testing.assert_allclose(out[49, 0, 3], (-0.313298, -0.338525, 1.134452), atol=1e-5)
    assert not out[:, 1].any()


@pytest.mark.parametrize("length", [1, 2, 3, 37, 50, 103, 300])
def test_resize_is_half_pixel_linear_interpolation(length):
    x = np.random.default_rng(0).normal(size=(length, 6)).astype(np.float32)
    expected = interpolate(torch.from_numpy(x.T).double()[None], size=50, mode="linear")[0].numpy().T
    np.testing.assert_allclose(resize(x, 50), expected, atol=2e-6)


def test_slots_follow_the_order_of_the_file():
    x = np.random.default_rng(0).normal(size=(4, 3, 25, 3))
    selected = RECIPE.build().select(clip_of(x))
    np.testing.assert_array_equal(selected, x[:, :2].astype(np.float32))


def test_long_clips_keep_their_central_part():
    x = np.arange(1, 321, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 25, 3), np.float32)
    selected = RECIPE.build().select(clip_of(x))
    assert selected.shape == (300, 2, 25, 3)
    assert selected[0, 0, 0, 0] == 11


def test_empty_clip_is_an_error_of_the_clip():
    with pytest.raises(ValueError, match="absent in every frame"):
        RECIPE.build().normalise(np.zeros((5, 2, 25, 3), np.float32))


def test_shoulders_lie_along_x_where_the_clip_faces_one_way():
    rng = np.random.default_rng(1)
    x = np.zeros((60, 2, 25, 3), np.float32)
    x[:, 0] = rng.normal(scale=0.05, size=(60, 25, 3)) + 1
    angle = np.linspace(0.2, 1.2, 60)
    x[:, 0, 4], x[:, 0, 8] = 1.0, np.stack([1 + 0.4 * np.cos(angle), np.ones(60), 1 + 0.4 * np.sin(angle)], -1)
    line = RECIPE.build().normalise(x)[:, 0]
    line = line[:, 8] - line[:, 4]
    assert np.abs(line[:, 2]).max() < 0.01
    assert line[:, 0].min() > 0.39


def test_identity_of_a_recipe():
    assert RecipeConfig("aimclr").id == RecipeConfig.parse({"name": "aimclr"}).id
    assert RecipeConfig("aimclr", pku_interval="after_start").id != RecipeConfig("aimclr").id
    with pytest.raises(UserError, match=r"method\.recipe\.name: found 'x', expected aimclr"):
        RecipeConfig.parse({"name": "x"})
    with pytest.raises(UserError, match=r"method\.recipe\.colour: unknown key"):
        RecipeConfig.parse({"name": "aimclr", "colour": 1})


@shared
def test_equals_the_reference_on_real_and_damaged_files():
    for raw, golden in golden_clips("aimclr", "b_position"):
        np.testing.assert_allclose(process_file(raw, recipe="aimclr"), golden["b_position"], atol=1e-5)
