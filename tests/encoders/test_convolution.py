"""The weight's gradient as products equals torch's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from skelssl.encoders import convolution
from skelssl.encoders.convolution import Conv2d, conv2d

# in, out, height, width, taps, stride, padding
SHAPES = [
    (16, 32, 13, 6, 9, 1, 4),  # temporal convolution of ST-GCN
    (16, 32, 13, 6, 9, 2, 4),
    (16, 32, 12, 5, 9, 2, 4),  # an even height
    (16, 32, 3, 7, 3, 1, 0),  # partitions of a graph
    (32, 16, 8, 3, 1, 1, 0),  # a shortcut
    (32, 16, 2, 3, 9, 1, 4),  # fewer frames than taps: some taps never meet one
    (32, 16, 1, 1, 9, 2, 4),
    (32, 16, 11, 3, 4, 3, 2),  # a stride that skips frames at the end
]


def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for narrow in (0, 10**9):  # products, then torch
        monkeypatch.setattr(convolution, "NARROW", narrow)
        yield


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format], ids=["last", "first"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
def test_equal_to_torch(
    shape: tuple[int, ...], memory: torch.memory_format, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, out, height, width, taps, stride, padding = shape
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layer = nn.Conv2d(into, out, (taps, 1), (stride, 1), (padding, 0), bias=bias).double()
    x = torch.randn(4, into, height, width, generator=draw, dtype=torch.float64).contiguous(memory_format=memory)
    high = (height + 2 * padding - taps) // stride + 1
    grad = torch.randn(4, out, high, width, generator=draw, dtype=torch.float64)
    found: list[list[Tensor]] = []
    for _ in both(monkeypatch):
        own = [t.detach().clone().requires_grad_() for t in (x, layer.weight, *([layer.bias] if bias else []))]
        y = conv2d(own[0], own[1], own[2] if bias else None, stride, padding)
        y.backward(grad)
        found.append([y, *(t.grad for t in own)])
    assert ["_Conv2d" in str(y.grad_fn) for y, *_ in found] == [True, False]
    for products, torchs in zip(*found, strict=True):
        torch.testing.assert_close(products, torchs, rtol=1e-12, atol=1e-12)


def test_gradients_by_differences() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()
        for shape in ((1, 16, 4, 2), (32, 16, 3, 1), (32,))
    )
    assert torch.autograd.gradcheck(lambda *given: conv2d(*given, 2, 1), (x, weight, bias), fast_mode=True)


def test_the_layer_is_torchs() -> None:
    torch.manual_seed(0)
    own = Conv2d(16, 32, 9, stride=2, padding=4)
    torch.manual_seed(0)
    torchs = nn.Conv2d(16, 32, (9, 1), (2, 1), (4, 0))
    assert own.state_dict().keys() == torchs.state_dict().keys()
    x = torch.randn(3, 16, 10, 4)
    torch.testing.assert_close(own(x), torchs(x))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("learns", ["x", "weight"])
def test_one_gradient_alone(stride: int, learns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen weights, or an input that needs no gradient."""
    given = {"x": torch.randn(2, 32, 9, 3).double(), "weight": torch.randn(32, 32, 9, 1).double()}
    found = []
    for _ in both(monkeypatch):
        own = {name: t.clone().requires_grad_(name == learns) for name, t in given.items()}
        conv2d(**own, stride=stride, padding=4).square().sum().backward()
        assert [name for name, t in own.items() if t.grad is not None] == [learns]
        found.append(own[learns].grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


def test_autocast_and_halves_go_to_torch() -> None:
    x, weight = torch.randn(2, 32, 9, 3), torch.randn(32, 32, 9, 1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = conv2d(x, weight, padding=4)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert conv2d(x.bfloat16(), weight.bfloat16(), padding=4).dtype == torch.bfloat16
