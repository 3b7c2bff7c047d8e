"""InfoNCE with a queue of negatives.

van den Oord et al., 2018 (arXiv 1807.03748); as in MoCo: He et al., CVPR 2020 (arXiv 1911.05722), eq. 1; between
representations: Thoker et al., ACM MM 2021 (arXiv 2108.03656).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from skelssl.errors import UserError


def unit(z: Tensor) -> Tensor:
    """(N, D) -> rows of length 1, at least float32."""
    return F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)


class Match(NamedTuple):
    """How well queries find their own key."""

    loss: Tensor  # (), mean over the batch
    top1: Tensor  # (), share of queries that are closer to their key than to every negative


class _Contrast(Function):
    """-log softmax of the positive among [q·k, q·n_1, …, q·n_K] / temperature, mean over queries; and the top-1.

    Unit rows (N, D), (N, D), (K, D). The positive's column is never joined to the others, and the gradients

        dq = ((p_0 - 1) k + Σ_j p_j n_j) / (N·temperature),  dk = (p_0 - 1) q / (N·temperature)

    are made with the loss, so that one (N, K) matrix is held, only while they are made. ``negatives`` take none.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        right = (query * key).sum(1, keepdim=True) / temperature
        wrong = (query / temperature) @ negatives.T
        hardest = wrong.amax(1, keepdim=True)
        peak = torch.maximum(right, hardest)
        odds = wrong.sub_(peak).exp_()
        own = (right - peak).exp()
        total = own + odds.sum(1, keepdim=True)
        if any(ctx.needs_input_grad):
            scale = 1 / (len(query) * temperature)
            missing = own / total - 1
            ctx.save_for_backward(
                (missing * key).addcdiv_(odds @ negatives, total).mul_(scale), (missing * query).mul_(scale)
            )
        top1 = (right >= hardest).to(query.dtype).mean()
        ctx.mark_non_differentiable(top1)
        return (total.log() + peak - right).mean(), top1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        query, key = ctx.saved_tensors
        return grad * query, grad * key, None, None


class InfoNCE(nn.Module):
    """-log softmax of a query's own key among K negatives, mean over the batch.

    Each rank has its own queries and keys, and the negatives are the same on all: the mean over ranks is the loss of
    one process with the whole batch.

    temperature: what cosines are divided by, above 0.
    """

    def __init__(self, *, temperature: float = 0.07) -> None:
        super().__init__()
        if not temperature > 0:
            raise UserError(f"method.loss.temperature: found {temperature}, expected a number above 0")
        self.temperature = temperature

    def forward(self, query: Tensor, key: Tensor, negatives: Tensor) -> Match:
        """Unit rows: queries (N, D) with gradient, their keys (N, D), negatives (K, D) without."""
        with torch.autocast(query.device.type, enabled=False):  # cosines / 0.07 need more than half precision
            return Match(*_Contrast.apply(query, key, negatives, self.temperature))  # type: ignore[no-untyped-call]
