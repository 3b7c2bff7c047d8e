"""Skeleton-contrast's views: golden windows, and the four augmentations one after the other as their oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.encoders.gru import flatten
from skelssl.skeleton.layout import load_layout
from skelssl.views.skeleton_contrast import CentreView, ContrastView, CropView
from skelssl.views.spatial import draw_shear, uniform
from skelssl.views.streams import STREAMS, to_stream
from skelssl.views.temporal import crop_resize


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(x: Tensor, frames: list[int]) -> Batch:
    index = torch.arange(len(x))
    return Batch(x, torch.tensor(frames), index, index)


def batch(n: int = 6, frames: int = 90) -> Batch:
    return clips(torch.randn(n, 3, frames, 25, 2, generator=dice(0), dtype=torch.float64), [frames] * n)


RAMP = torch.sin(0.01 * torch.arange(3 * 300 * 25 * 2, dtype=torch.float64)).view(1, 3, 300, 25, 2)


@pytest.mark.parametrize(
    ("start", "length", "values"),
    [
        (7, 73, (-0.3793315, -0.8033622, -0.9709890, -0.8342119, 0.9729528, 0.9235768)),
        (3, 64, (0.9974950, 0.9092974, 0.5984721, 0.1411200, 0.9999118, -0.1880162)),
        (0, 40, (0.0, 0.2097487, 0.5020534, 0.7283318, 0.6055398, 0.7899908)),
        (10, 286, (-0.3926049, 0.9505876, -0.7695526, 0.0020906, 0.8335368, -0.9562691)),
    ],
)
def test_windows_are_the_reference_s(start: int, length: int, values: tuple[float, ...]) -> None:
    y = crop_resize(RAMP, torch.tensor([start]), torch.tensor([length]), 64)[0]
    found = [*y[0, :4, 0, 0].tolist(), float(y[0, 63, 0, 0]), float(y[2, 31, 24, 1])]
    assert found == pytest.approx(values, abs=1e-7)


@pytest.mark.parametrize(
    ("n", "values"),
    [
        (40, (0.4794256, 0.6208496, 0.8358140, 0.1498772)),
        (64, (0.4794256, 0.8245001, 0.9853056, -0.4040376)),
        (100, (0.8804770, 0.9313468, 0.4841341, -0.9278949)),
        (137, (0.9513291, 0.3376385, -0.6013732, -0.2533978)),
        (300, (-0.9188994, 0.3048742, 0.5388957, 0.5650932)),
    ],
)
def test_the_centre_is_the_reference_s(n: int, values: tuple[float, ...]) -> None:
    y = CentreView()(clips(RAMP, [n]))[0, 0, [0, 1, 2, 63], 0, 0]
    assert y.tolist() == pytest.approx(values, abs=1e-7)


def test_the_sequence_s_order_of_features() -> None:
    """Golden G1: the sequence network flattens a frame to v·6 + c·2 + m of each frame."""
    x = torch.sin(0.01 * torch.arange(2 * 3 * 64 * 25 * 2, dtype=torch.float64)).view(2, 3, 64, 25, 2)
    row = flatten(x)[0, 0]  # (T, N, 150)
    expected = [0.0, 0.0099998333, 0.5514266812, 0.5597412047, 0.9200260382, 0.9238985443, 0.0199986667, 0.0299955002]
    assert row[:8].tolist() == pytest.approx(expected, abs=1e-9)


def one_by_one(x: Tensor, view: ContrastView, seed: int) -> Tensor:
    """Windows (N, 3, T', V, M), each joint of each clip changed on its own, from the numbers the view draws."""
    generator, n = dice(seed), len(x)
    uniform((2, n), generator)  # the windows', drawn first
    chosen, vanish = uniform((2, n), generator)
    order = uniform((n, 25), generator).argsort(1)
    off, entries = draw_shear(n, 1.0, generator), 2 * uniform((n, 3, 3), generator) - 1
    out = x.numpy().copy()
    for i in range(n):
        kind = view.spatial[int(chosen[i] * len(view.spatial))] if view.spatial else None
        if kind == "shear":
            (a, b, c, d, e, f) = off[i].tolist()
            row = np.array([[1, a, b], [c, 1, d], [e, f, 1]])
            for v in range(25):
                out[i, :, :, v] = np.einsum("ctm,cd->dtm", x[i, :, :, v].numpy(), row)
        elif kind == "jitter":
            for v in order[i, : view.jitter_joints].tolist():
                row = entries[i].numpy() * float(vanish[i] >= view.zero_p)
                out[i, :, :, v] = np.einsum("ctm,cd->dtm", x[i, :, :, v].numpy(), row)
    return torch.from_numpy(out)


@pytest.mark.parametrize("spatial", [["shear", "jitter"], ["shear"], ["jitter"], []])
def test_the_linear_map_equals_the_augmentations_one_by_one(spatial: list[str]) -> None:
    data, view = batch(12), ContrastView(spatial=spatial)
    windows = view.crop(data, dice(4))
    torch.testing.assert_close(view(data, dice(4)), one_by_one(windows, view, 4))


def test_shares_and_shapes_of_the_maps() -> None:
    """P1: half sheared, a quarter emptied, a quarter turned; 15 joints; entries below 1; a unit diagonal."""
    maps = ContrastView().maps(20_000, dice(1))
    changed = (maps != torch.eye(3, dtype=maps.dtype)).flatten(2).any(2).sum(1)  # joints per view
    sheared = changed == 25
    emptied = (maps == 0).flatten(2).all(2).any(1)
    assert changed.unique().tolist() == [15, 25]
    assert float(sheared.double().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(emptied.double().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(maps[sheared].diagonal(dim1=2, dim2=3), torch.ones(int(sheared.sum()), 25, 3).double())
    assert torch.equal(maps[sheared], maps[sheared][:, :1].expand(-1, 25, -1, -1))
    turned = maps[~sheared & ~emptied]
    entries = torch.cat([maps[sheared][:, 0].flatten(), turned.flatten()])
    assert float(entries[entries != 1].abs().max()) < 1
    hit = (turned != torch.eye(3, dtype=maps.dtype)).flatten(2).any(2)
    assert hit.double().mean(0).sub(15 / 25).abs().max() < 0.03
    inside = turned[hit].view(len(turned), 15, 3, 3)
    assert torch.equal(inside, inside[:, :1].expand_as(inside))  # one matrix for all joints of a view


def test_jitter_is_the_same_for_frames_and_persons() -> None:
    data = batch(8)
    view = ContrastView(spatial=["jitter"])
    changed = (view(data, dice(2)) != view.crop(data, dice(2))).any(1)  # (N, T, V, M)
    assert torch.equal(changed, changed[:, :1, :, :1].expand_as(changed))
    assert changed[:, 0, :, 0].sum(1).tolist() == [15] * 8


def test_the_options_leave_the_draws_alone() -> None:
    data, states = batch(), []
    for spatial in (["shear", "jitter"], ["jitter"], []):
        generator = dice(5)
        ContrastView(spatial=spatial)(data, generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_padding_is_never_seen_and_an_absent_person_stays_absent() -> None:
    data = batch(4, 120)
    x = data.x.clone()
    x[..., 1] = 0
    spoilt = x.clone()
    spoilt[:, :, 70:] = torch.nan
    for view in (ContrastView(), CropView(), CentreView()):
        clean = view(clips(x, [70, 1, 64, 65]), dice(3))
        assert torch.equal(view(clips(spoilt, [70, 1, 64, 65]), dice(3)), clean)
        assert clean.shape == (4, 3, 64, 25, 2)
        assert not clean[..., 1].any()


def test_crops_of_a_probe_and_streams() -> None:
    data = batch(3, 200)
    for stream in STREAMS:
        expected = to_stream(CropView().crop(data, dice(6)), stream, "ntu25")
        assert torch.equal(CropView(stream=stream)(data, dice(6)), expected)
        assert torch.equal(CentreView(stream=stream)(data), to_stream(CentreView()(data), stream, "ntu25"))
    assert not torch.equal(CropView()(data, dice(6)), CropView()(data, dice(7)))
    assert CropView(crop_ratio=[1, 1])(data, dice(0)).equal(CropView(crop_ratio=[1, 1])(data, dice(1)))


def test_float32_stays_float32() -> None:
    data = clips(batch().x.float(), [90] * 6)
    assert ContrastView()(data, dice(0)).dtype == torch.float32
    wide = ContrastView()(clips(data.x.double(), [90] * 6), dice(0))
    torch.testing.assert_close(ContrastView()(data, dice(0)).double(), wide, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"spatial": ["flip"]}, r"view\.spatial: found 'flip', expected a list out of shear, jitter"),
        ({"jitter_joints": 26}, r"view\.jitter_joints: found 26, expected 0 to 25"),
        ({"zero_p": 2.0}, r"view\.zero_p: found 2\.0, expected a probability"),
        ({"crop_ratio": [0.5, 0.1]}, r"view\.crop_ratio: found \[0\.5, 0\.1\], expected two ascending ratios"),
        ({"frames": 0}, r"view\.frames: found 0, expected a whole number of at least 1"),
    ],
)
def test_mistakes(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ContrastView(**options)
    with pytest.raises(UserError, match=r"view\.ratio: found 0, expected a ratio"):
        CentreView(ratio=0)


def test_the_body_has_25_joints() -> None:
    assert len(load_layout("ntu25").joints) == ContrastView().joints == 25
