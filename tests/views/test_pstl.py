"""PSTL's view against the operations one after the other, with the same numbers drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.skeleton.layout import load_layout
from skelssl.views.pstl import PlainView, PSTLView
from skelssl.views.spatial import draw_angles, draw_shear, rotation_matrix, shear_matrix
from skelssl.views.streams import STREAMS, to_stream

FLIP = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22]


def batch(n: int = 3, frames: int = 13) -> Batch:
    x = torch.randn(n, 3, frames, 25, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    index = torch.arange(n)
    return Batch(x, torch.full((n,), frames), index, index)


def one_by_one(x: Tensor, start: int, shear: Tensor, angles: Tensor, flip: bool, mirror_x: bool) -> Tensor:
    """A stream (N, C, T, V, M) through the operations in the paper's order, each in its own pass."""
    frames = x.shape[2]
    padding = frames // 6
    head, tail = x[:, :, :padding].flip(2), x[:, :, frames - padding :].flip(2)
    x = torch.cat([head, x, tail], 2)[:, :, start : start + frames]
    for matrix in (shear, angles):
        x = torch.einsum("ij,njtvm->nitvm", matrix, x)
    if flip:
        x = x[:, :, :, FLIP]
        x = x * torch.tensor([-1.0, 1, 1]).view(3, 1, 1, 1) if mirror_x else x
    return x


def injected(count: int, seed: int) -> list[tuple[int, Tensor, Tensor, bool]]:
    """The numbers that a view of 13 frames draws, in its order."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(5, (count,), generator=generator).tolist()
    shear = shear_matrix(draw_shear(count, 1.0, generator))
    turn = rotation_matrix(draw_angles(count, 30.0, 1.0, generator))
    flip = (torch.rand(count, 1, generator=generator, dtype=torch.float64) < 0.5).view(-1).tolist()
    return list(zip(start, shear, turn, flip, strict=True))


@pytest.mark.parametrize("mirror_x", [False, True])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("seed", range(4))
def test_one_set_of_numbers_for_the_batch(stream: str, mirror_x: bool, seed: int) -> None:
    data = batch()
    found = PSTLView(stream=stream, mirror_x=mirror_x)(data, torch.Generator().manual_seed(seed))
    expected = one_by_one(to_stream(data.x, stream, "ntu25"), *injected(1, seed)[0], mirror_x)
    torch.testing.assert_close(found, expected)


def test_one_set_of_numbers_for_each_clip() -> None:
    data = batch(6)
    found = PSTLView(granularity="sample")(data, torch.Generator().manual_seed(3))
    sets = injected(6, 3)
    assert len({start for start, *_ in sets}) > 1
    assert {flip for *_, flip in sets} == {True, False}
    for n, numbers in enumerate(sets):
        torch.testing.assert_close(found[n : n + 1], one_by_one(data.x[n : n + 1], *numbers, False))


def test_flip_order_is_the_paper_s() -> None:
    assert load_layout("ntu25").flip.tolist() == FLIP


def test_all_off_is_the_clip_and_the_draws_do_not_depend_on_the_options() -> None:
    data = batch()
    view = PSTLView(crop_ratio=14, shear=0.0, rot_main_deg=0.0, rot_other_deg=0.0, flip_p=0.0)
    used, generator = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    torch.testing.assert_close(view(data, used), data.x)
    PSTLView()(data, generator)
    assert torch.equal(used.get_state(), generator.get_state())


def test_float32_stays_float32_and_the_input_is_left_alone() -> None:
    data = batch()
    data = Batch(data.x.float(), data.frames, data.label, data.index)
    before = data.x.clone()
    out = PSTLView()(data, torch.Generator().manual_seed(0))
    assert out.dtype == torch.float32
    assert torch.equal(data.x, before)
    wide = PSTLView()(Batch(before.double(), data.frames, data.label, data.index), torch.Generator().manual_seed(0))
    torch.testing.assert_close(out.double(), wide, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stream", STREAMS)
def test_plain_view_is_the_stream(stream: str) -> None:
    data = batch()
    view = PlainView(stream=stream)
    assert torch.equal(view(data), to_stream(data.x, stream, "ntu25"))
    assert (view.clips, list(view.state_dict())) == (1, [])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"granularity": "clip"}, r"view\.granularity: found 'clip', expected batch or sample"),
        ({"stream": "bones"}, "stream: found 'bones', expected one of joint, motion, bone"),
        ({"crop_ratio": 0}, r"view\.crop_ratio: found 0, expected 1 or more"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        PSTLView(**options)
