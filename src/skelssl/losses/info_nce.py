"""InfoNCE with a queue of negatives.

van den Oord et al., CPC, 2018 (arXiv 1807.03748), as in MoCo: He et al., CVPR 2020 (arXiv 1911.05722), eq. 1; between
representations as in Thoker et al., ACM MM 2021 (arXiv 2108.03656).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from skelssl.core.errors import UserError


def unit(z: Tensor) -> Tensor:
    """L2-normalise the rows of (N, D), in at least float32."""
    return F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)


@torch.no_grad()
def contrast_logits(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the logits [q·k, q·n_1, …, q·n_K] / temperature (N, 1 + K); column 0 is the positive.

    Args:
        query, key: (N, D) unit rows.
        negatives: (K, D) unit rows.
        temperature: divisor of the cosines.
    """
    logits = query.new_empty(len(query), 1 + len(negatives))
    logits[:, 0] = (query * key).sum(1)
    torch.mm(query, negatives.T, out=logits[:, 1:])
    return logits.div_(temperature)


class _NegativeLogLikelihood(Function):
    """Mean of -log softmax(logits)[0] over rows, and the fraction of rows whose largest entry is the first.

    The logits are the only (N, 1 + K) tensor in memory and become the softmax in place. The gradient
    (softmax - 1[0]) · keys / (temperature · N) reaches the queries only, because keys and negatives take none.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logits = contrast_logits(query, key, negatives, temperature)
        top1 = (logits.argmax(1) == 0).to(logits.dtype).mean()
        logits -= logits.amax(1, keepdim=True)
        own = logits[:, 0].clone()
        total = logits.exp_().sum(1, keepdim=True)
        loss = (total[:, 0].log() - own).mean()
        ctx.save_for_backward(logits.div_(total), key, negatives)
        ctx.scale = 1 / (temperature * len(query))
        ctx.mark_non_differentiable(top1)
        return loss, top1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        softmax, key, negatives = ctx.saved_tensors
        pull = torch.addmm((softmax[:, :1] - 1) * key, softmax[:, 1:], negatives)
        return pull.mul_(grad * ctx.scale), None, None, None


class Match(NamedTuple):
    """Loss and accuracy of matching each query to its key."""

    loss: Tensor  # (), mean over the batch
    top1: Tensor  # (), fraction of queries that are closer to their key than to every negative


class InfoNCE(nn.Module):
    """Mean of -log softmax of each query's positive key among K negatives, eq. 1 of MoCo.

    Queries and keys are per-rank, and the negatives are the same on all ranks, so that the mean over ranks is the loss
    of one process with the complete batch.

    Args:
        temperature: divisor of the cosines, above 0.

    Raises:
        UserError: ``temperature`` is not above 0.
    """

    def __init__(self, *, temperature: float = 0.07) -> None:
        super().__init__()
        if not temperature > 0:
            raise UserError(f"method.loss.temperature: found {temperature}, expected a number above 0")
        self.temperature = temperature

    def forward(self, query: Tensor, key: Tensor, negatives: Tensor) -> Match:
        """Match each query to its key, in the precision of the input even under autocast.

        Args:
            query: (N, D) unit rows.
            key: (N, D) unit rows, detached.
            negatives: (K, D) unit rows, detached.

        Raises:
            ValueError: keys or negatives take a gradient.
        """
        if key.requires_grad or negatives.requires_grad:
            raise ValueError("InfoNCE: found keys or negatives that take a gradient, expected them detached")
        with torch.autocast(query.device.type, enabled=False):  # cosines / 0.07 need more than half precision
            found = _NegativeLogLikelihood.apply(query, key, negatives, self.temperature)  # type: ignore[no-untyped-call]
        return Match(*found)
