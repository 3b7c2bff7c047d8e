"""Windows and resizing: goldens of the two-view reference, torch's own interpolation, arithmetic in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from skelssl.views.temporal import centre_window, crop_resize, mirrored_crop, random_window, take_frames

RAMP = torch.sin(0.01 * torch.arange(3 * 300 * 25 * 2, dtype=torch.float64)).view(1, 3, 300, 25, 2)


def one(value: int) -> torch.Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize(
    ("n", "ratio", "start", "length", "first", "last", "inner"),
    [
        (100, 0.73, 7, 73, (-0.3793315, -0.8033622, -0.9709890, -0.8342119), 0.9729528, 0.9235768),
        (100, 0.28, 3, 64, (0.9974950, 0.9092974, 0.5984721, 0.1411200), 0.9999118, -0.1880162),
        (40, 0.55, 0, 40, (0.0, 0.2097487, 0.5020534, 0.7283318), 0.6055398, 0.7899908),
        (300, 0.955, 10, 286, (-0.3926049, 0.9505876, -0.7695526, 0.0020906), 0.8335368, -0.9562691),
    ],
)
def test_crop_resize_numbers(
    n: int, ratio: float, start: int, length: int, first: tuple[float, ...], last: float, inner: float
) -> None:
    _, drawn = random_window(one(n), (ratio, ratio), 64, torch.Generator())
    assert drawn.item() == length
    out = crop_resize(RAMP, one(start), drawn, 64)
    assert out[0, 0, :4, 0, 0].tolist() == pytest.approx(first, abs=1e-7)
    assert out[0, 0, 63, 0, 0].item() == pytest.approx(last, abs=1e-7)
    assert out[0, 2, 31, 24, 1].item() == pytest.approx(inner, abs=1e-7)


@pytest.mark.parametrize(
    ("n", "start", "length", "first", "last"),
    [
        (40, 1, 38, (0.4794256, 0.6208496, 0.8358140), 0.1498772),
        (64, 1, 62, (0.4794256, 0.8245001, 0.9853056), -0.4040376),
        (100, 2, 96, (0.8804770, 0.9313468, 0.4841341), -0.9278949),
        (137, 3, 131, (0.9513291, 0.3376385, -0.6013732), -0.2533978),
        (300, 7, 286, (-0.9188994, 0.3048742, 0.5388957), 0.5650932),
    ],
)
def test_centre_window_numbers(n: int, start: int, length: int, first: tuple[float, ...], last: float) -> None:
    window = centre_window(one(n))
    assert [part.item() for part in window] == [start, length]
    out = crop_resize(RAMP, *window, 64)
    assert out[0, 0, :3, 0, 0].tolist() == pytest.approx(first, abs=1e-7)
    assert out[0, 0, 63, 0, 0].item() == pytest.approx(last, abs=1e-7)


@given(data=st.data(), frames=st.integers(1, 70))
def test_crop_resize_equals_interpolate_clip_by_clip(data: st.DataObject, frames: int) -> None:
    total = 40
    starts = data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=4))
    lengths = [data.draw(st.integers(1, total - start)) for start in starts]
    generator = torch.Generator().manual_seed(frames)
    x = torch.randn(len(starts), 2, total, 3, 2, generator=generator, dtype=torch.float64)
    window = torch.tensor(starts), torch.tensor(lengths)
    out = crop_resize(x, *window, frames)
    assert out.shape == (len(starts), 2, frames, 3, 2)
    for clip, start, length, found in zip(x, starts, lengths, out, strict=True):
        rows = clip[:, start : start + length].flatten(2).mT  # (C, V·M, length)
        expected = interpolate(rows, size=frames, mode="linear", align_corners=False)
        torch.testing.assert_close(found.flatten(2).mT, expected, rtol=0, atol=1e-12)
    narrow = crop_resize(x.float(), *window, frames)
    torch.testing.assert_close(narrow.double(), out, rtol=0, atol=1e-6)


def test_crop_resize_in_float64_and_its_gradient() -> None:
    x = torch.randn(1, 1, 30, 1, 1, dtype=torch.float64, requires_grad=True)
    ours = crop_resize(x, one(4), one(21), 64)
    theirs = interpolate(x[:, 0, 4:25, 0].mT, size=64, mode="linear", align_corners=False).mT[:, None, :, :, None]
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    gradients = [torch.autograd.grad(out, x, weight)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@given(
    frames=st.lists(st.integers(1, 300), min_size=1, max_size=8),
    ratio=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    minimum=st.integers(1, 80),
    seed=st.integers(0, 2**32),
)
def test_random_windows_stay_inside(frames: list[int], ratio: tuple[float, float], minimum: int, seed: int) -> None:
    low, high = sorted(ratio)
    n = torch.tensor(frames)
    start, length = random_window(n, (low, high), minimum, torch.Generator().manual_seed(seed))
    assert ((start >= 0) & (start + length <= n)).all()
    assert (length >= torch.clamp(n, max=minimum)).all()
    assert (length <= torch.maximum((n.double() * high).floor().long(), torch.tensor(minimum))).all()


def test_random_windows_start_everywhere() -> None:
    n = torch.full((20_000,), 100)
    start, length = random_window(n, (0.97, 0.97), 64, torch.Generator().manual_seed(0))
    assert (length == 97).all()
    share = start.bincount(minlength=4) / len(n)
    assert share.tolist() == pytest.approx([0.25] * 4, abs=5 * (0.25 * 0.75 / 20_000) ** 0.5)


def test_one_frame_survives_everything() -> None:
    frame = torch.randn(1, 3, 1, 25, 2)
    window = centre_window(one(1))
    assert [part.item() for part in window] == [0, 1]
    assert torch.equal(crop_resize(frame, *window, 5), frame.expand(-1, -1, 5, -1, -1))


def test_mirrored_crop_numbers() -> None:
    index = mirrored_crop(torch.tensor([0, 5, 8, 16]), 50, 8)
    assert index[0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0, *range(42)]
    assert index[1].tolist() == [2, 1, 0, *range(47)]
    assert index[2].tolist() == list(range(50))
    assert index[3].tolist() == [*range(8, 50), *range(49, 41, -1)]


def test_frames_of_a_stores_layout_are_rows_and_the_same() -> None:
    """A view of (N, T, M, V, 3) memory, as batches are, against the same clips laid out plainly; any layout out."""
    stored = torch.randn(4, 11, 2, 5, 3).permute(0, 4, 1, 3, 2)
    index = torch.randint(0, 11, (4, 7))
    taken = take_frames(stored, index)
    assert torch.equal(taken, take_frames(stored.contiguous(), index))
    assert torch.equal(taken, torch.stack([clip[:, rows] for clip, rows in zip(stored, index, strict=True)]))
    assert taken.permute(0, 2, 4, 3, 1).is_contiguous()
