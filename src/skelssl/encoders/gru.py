"""The sequence encoder of skeleton-contrast (Thoker, Doughty, Snoek, ACM MM 2021, arXiv 2108.03656).

The released code feeds a bidirectional GRU one frame at a time, so its "reverse" half runs forward in time as well.
The released model is therefore a pair of causal GRUs per layer, each of which reads both outputs of the layer below.
That is ``direction="causal_pair"``, the default. Here each GRU processes the complete sequence in one call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from skelssl.core.errors import UserError
from skelssl.encoders.inputs import CHANNELS, PERSONS, check_clips, zero_joints
from skelssl.skeleton.layout import load_layout

DIRECTIONS = ("causal_pair", "bidirectional")


class _Recurrence(Function):
    """The sequential part of a GRU, with h_0 = 0.

        r, z = σ(gates_rz + W_rz h + b_rz),  n = tanh(gates_n + r·(W_n h + b_n)),  h' = (1 - z)·n + z·h

    gates (T, N, 3H), weight (3H, H), bias (3H,) -> h' of every frame (T, N, H). torch's own GRU accumulates the
    gradient of the weights frame by frame on a CPU. Here the loop over frames propagates the gradient of h only, and
    the gradient of the weights is one matrix product after it.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        frames, rows, width = len(gates), gates.shape[1], weight.shape[1]
        hidden = gates.new_zeros(frames + 1, rows, width)
        inner, new = torch.empty_like(gates), gates.new_empty(frames, rows, width)
        for t in range(frames):
            torch.addmm(bias, hidden[t], weight.mT, out=inner[t])
            inner[t, :, : 2 * width].add_(gates[t, :, : 2 * width]).sigmoid_()
            r, z, recalled = inner[t].chunk(3, -1)
            torch.addcmul(gates[t, :, 2 * width :], r, recalled, out=new[t]).tanh_()
            torch.lerp(new[t], hidden[t], z, out=hidden[t + 1])
        ctx.save_for_backward(hidden, inner, new, weight)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, inner, new, weight = ctx.saved_tensors
        before, (r, z, recalled) = hidden[:-1], inner.chunk(3, -1)
        # Derivatives of h' by the pre-activations, all frames at once; the loop multiplies them by the gradient of h'.
        d_new = (1 - z) * (1 - new.square())
        d_inner = torch.stack([d_new * recalled * r * (1 - r), (before - new) * z * (1 - z), d_new * r], 2)
        d_hidden = torch.zeros_like(grad[0])
        for t in reversed(range(len(grad))):
            d_hidden = d_hidden + grad[t]
            d_new[t].mul_(d_hidden)
            d_inner[t].mul_(d_hidden[:, None])
            d_hidden = torch.addmm(d_hidden * z[t], d_inner[t].flatten(1), weight)
        d_gates = torch.cat([d_inner[:, :, :2].flatten(2), d_new], -1)
        d_sums = rearrange(d_inner, "t n g h -> (t n) (g h)")
        return d_gates, d_sums.mT @ before.flatten(0, 1), d_sums.sum(0)


class CausalGRU(nn.GRU):
    """One GRU layer, forward in time and without an initial state: (T, N, F) -> (T, N, H).

    It uses torch's own kernels, except for training on a CPU, where `_Recurrence` is faster.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            output: Tensor = super().forward(x)[0]
            return output
        gates = linear(x, self.weight_ih_l0, self.bias_ih_l0).to(self.weight_hh_l0.dtype)  # autocast may narrow it
        hidden: Tensor = _Recurrence.apply(gates, self.weight_hh_l0, self.bias_hh_l0)  # type: ignore[no-untyped-call]
        return hidden


class LayerPair(nn.Module):
    """Two GRUs over one sequence, the second one backward in time if ``reverse``: (T, N, F) -> (T, N, 2H)."""

    def __init__(self, in_dim: int, hidden: int, *, reverse: bool) -> None:
        super().__init__()
        self.first, self.second, self.reverse = CausalGRU(in_dim, hidden), CausalGRU(in_dim, hidden), reverse

    def forward(self, x: Tensor) -> Tensor:
        second = self.second(x.flip(0)).flip(0) if self.reverse else self.second(x)
        return torch.cat([self.first(x), second], -1)


class GRU(nn.Module):
    """Layers of GRU pairs over flattened frames; the feature is the output at the last frame, D = 2·hidden.

    Three layers of 2·1024 on 25 joints have 44,998,656 parameters. Weights are initialised Xavier-uniform over the
    three stacked gates, biases uniform in ±1/√hidden.

    Args:
        layout: name of the skeleton layout.
        hidden: width H of each GRU.
        layers: number of pairs.
        direction: ``causal_pair`` as released; ``bidirectional`` runs the second GRU of each layer backward in time, an
            ablation with the same parameters. At the last frame its top backward GRU has then read that frame alone.

    Raises:
        UserError: an unknown ``direction``, or ``hidden`` or ``layers`` below 1.
    """

    ignores: ClassVar[str] = "zeroes"

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        hidden: int = 1024,
        layers: int = 3,
        direction: Literal["causal_pair", "bidirectional"] = "causal_pair",
    ) -> None:
        super().__init__()
        if direction not in DIRECTIONS:
            raise UserError(f"encoder.direction: found {direction!r}, expected one of {', '.join(DIRECTIONS)}")
        if hidden < 1 or layers < 1:
            raise UserError(f"encoder: found hidden={hidden} and layers={layers}, expected both to be at least 1")
        self.joints, self.dim, self.direction = len(load_layout(layout).joints), 2 * hidden, direction
        widths = [self.joints * CHANNELS * PERSONS] + [self.dim] * (layers - 1)
        self.layers = nn.ModuleList(LayerPair(width, hidden, reverse=direction == DIRECTIONS[1]) for width in widths)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
        """Encode clips (N, 3, T, V, M=2) -> features (N, D).

        Args:
            x: complete clips of any T; an absent person is all zeros.
            ignore: joints to set to zero, for all clips of the batch; a flattened frame cannot drop them.

        Raises:
            UserError: the shape is wrong, a joint is unknown, or no joint is left.
        """
        check_clips(x, self.joints, ignore)
        rows = flatten(zero_joints(x, ignore).to(self.get_parameter("layers.0.first.weight_ih_l0").dtype))
        for layer in self.layers:
            rows = layer(rows)
        return rows[-1]


def flatten(x: Tensor) -> Tensor:
    """Flatten clips (N, C, T, V, M) -> rows (T, N, V·C·M), coordinate c of joint v of person m at v·C·M + c·M + m."""
    return rearrange(x, "n c t v m -> t n (v c m)")


def recognises(names: Collection[str]) -> bool:
    """Return whether the parameter names of a released encoder are those of the sequence encoder."""
    return "encoder.gru.weight_ih_l0" in names


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the parameters of a released encoder to ours, drop its head ``fc``, and keep unknown names unchanged."""

    def ours(name: re.Match[str]) -> str:
        return f"layers.{name[2]}.{'second' if name[3] else 'first'}.{name[1]}_l0"

    pattern = re.compile(r"^encoder\.gru\.((?:weight|bias)_[ih]h)_l(\d+)(_reverse)?$")
    return {pattern.sub(ours, name): value for name, value in state.items() if not name.startswith("fc.")}
