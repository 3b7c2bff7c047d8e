"""Convolutions along one axis whose weight gradients are computed as matrix products.

The gradient of such a weight takes as many multiplications as the convolution, but oneDNN may need several times as
long for it (``python -m benchmarks.convolutions``). On a CPU it is therefore written out as one product of activations
and gradients for every tap of the kernel.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

NARROW = 512  # weights of a tap below which oneDNN's own gradient is as fast (measured, two AVX-512 cores)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with a (taps, 1) kernel along H, and the same results, parameter names and initial values.

    Second derivatives are not supported.

    Args:
        in_channels: C.
        out_channels: C'.
        taps: length of the kernel along H.
        stride: step along H.
        padding: rows of zeros at both ends of H.
        bias: add a learned bias per output channel.
    """

    def __init__(
        self, in_channels: int, out_channels: int, taps: int, *, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, (taps, 1), (stride, 1), (padding, 0), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (N, C, H, W) along H, fastest in channels-last memory -> (N, C', H', W)."""
        return conv2d(x, self.weight, self.bias, self.stride[0], cast(int, self.padding[0]))


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolve ``x`` (N, C, H, W) with ``weight`` (C', C, taps, 1) along H only -> (N, C', H', W), as torch does."""
    learns = weight.requires_grad and torch.is_grad_enabled()
    wide = weight.shape[0] * weight.shape[1] >= NARROW and x.dtype in (torch.float32, torch.float64)
    if learns and wide and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        return cast(Tensor, _Conv2d.apply(x, weight, bias, stride, padding))  # type: ignore[no-untyped-call]
    return nn.functional.conv2d(x, weight, bias, (stride, 1), (padding, 0))


class _Conv2d(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return nn.functional.conv2d(x, weight, bias, (stride, 1), (padding, 0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        to_x, to_weight, to_bias, *_ = ctx.needs_input_grad
        return (
            _of_input(grad, x, weight, ctx.stride, ctx.padding) if to_x else None,
            of_weight(grad, x, weight, ctx.stride, ctx.padding) if to_weight else None,
            grad.sum((0, 2, 3)) if to_bias else None,
            None,
            None,
        )


def _of_input(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, (stride, 1), (padding, 0), (1, 1), False, (0, 0), 1, (True, False, False)
    )
    return cast(Tensor, found[0])


def of_weight(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return dW[:, :, k] = Σ_nhw g[n, :, h, w] x[n, :, stride·h + k - padding, w], over all h with that row inside x.

    ``grad`` (N, C', H', W) and ``x`` (N, C, H, W), both channels-last -> (C', C, taps, 1).
    """
    grad, x = grad.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)  # (N, H', W, C') and (N, H, W, C), contiguous
    rows = [x[:, r::stride].contiguous() for r in range(stride)]  # so that the rows of a tap are neighbours
    height, taps = grad.shape[1], []
    for k in range(weight.shape[2]):
        shift, r = divmod(k - padding, stride)
        low, high = max(0, -shift), min(height, rows[r].shape[1] - shift)
        if high <= low:
            taps.append(torch.zeros_like(weight[:, :, k, 0]))
            continue
        taps.append((grad[:, low:high].flatten(1, 2).mT @ rows[r][:, low + shift : high + shift].flatten(1, 2)).sum(0))
    return torch.stack(taps, 2)[..., None]
