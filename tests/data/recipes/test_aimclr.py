import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from skelssl.core.errors import UserError
from skelssl.data import process_file
from skelssl.data.clip import RawClip
from skelssl.data.recipes import RecipeConfig
from skelssl.data.recipes.aimclr import resize
from tests.helpers.bodies import body, on
from tests.helpers.bodies import clip_of as raw_clip
from tests.helpers.shared import golden_clips, shared

RECIPE = RecipeConfig("aimclr")
FIXED = RecipeConfig("aimclr", faithful=False)


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


def naive_fixed(x):
    """The fixed form in float64, frame by frame and joint by joint."""
    shown = [frame.astype(np.float64) for frame in x if frame[0, 0].any()]
    for frame in shown:
        centre = frame[0, 20].copy()
        for m in range(2):
            for v in range(25):
                frame[m, v] = frame[m, v] - centre if frame[m, v].any() else 0
    out = np.zeros((50, 2, 25, 3))
    for t in range(50):
        at = min(max((t + 0.5) * len(shown) / 50 - 0.5, 0), len(shown) - 1)
        low = int(at)
        high = min(low + 1, len(shown) - 1)
        pose = shown[low] * (low + 1 - at) + shown[high] * (at - low)
        line = pose[0, 8] - pose[0, 4]
        angle = np.arccos(line[0] / (np.hypot(line[0], line[2]) + 1e-4)) * (1 if line[2] >= 0 else -1)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        for m in range(2):
            for v in range(25):
                out[t, m, v] = turn @ pose[m, v]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_fixed_equals_its_definition_written_joint_by_joint(seed):
    dice = np.random.default_rng(seed)
    x = dice.normal((0, 0, 3), 0.2, (int(dice.integers(2, 90)), 2, 25, 3)).astype(np.float32)
    angle = np.linspace(0, 6, len(x)) + seed  # he turns about: every sign of x and z occurs
    x[:, 0, 8] = x[:, 0, 4] + 0.4 * np.stack([np.cos(angle), 0.1 * angle, np.sin(angle)], -1)
    x[1:][dice.random((len(x) - 1, 2)) < 0.15] = 0
    x[:, 1] *= seed > 0
    np.testing.assert_allclose(FIXED.build().normalise(x), naive_fixed(x), atol=1e-5)


def test_fixed_takes_the_frames_of_the_first_person_and_keeps_the_distance():
    first, second = body(30, motion=0.3), body(60, seed=1, motion=0.1)
    clip = raw_clip({1: on(range(20, 50), first), 2: on(range(60), second)}, 60)
    x = FIXED.build().select(clip)
    np.testing.assert_array_equal(x[20:50, 0], first)
    np.testing.assert_array_equal(x[:, 1], second)
    out = FIXED.build().normalise(x)
    gap = np.linalg.norm(resize(second[20:50, 20] - first[:, 20], 50), axis=-1)
    np.testing.assert_allclose(np.linalg.norm(out[:, 1, 20] - out[:, 0, 20], axis=-1), gap, rtol=1e-2)
    np.testing.assert_allclose(out[:, 0, 20], 0, atol=1e-6)
    assert (out[:, 0, 8] - out[:, 0, 4])[:, 0].min() > 0
    published = RECIPE.build()
    np.testing.assert_allclose(published.normalise(published.select(clip))[:, 1, 20], 0, atol=1e-6)


def test_fixed_keeps_every_frame():
    long = raw_clip({1: on(range(310), body(310))}, 310)
    assert len(FIXED.build().select(long)) == 310
    assert len(RECIPE.build().select(long)) == 300
    with pytest.raises(ValueError, match="absent in every frame"):
        FIXED.build().normalise(np.zeros((5, 2, 25, 3), np.float32))


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
