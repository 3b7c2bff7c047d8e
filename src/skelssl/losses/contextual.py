"""Contextualised targets from a teacher that encodes the unmasked clip, and the loss against them.

Xu et al., Skeleton2vec, 2024 (arXiv 2401.00921), after Baevski et al., data2vec, ICML 2022 (arXiv 2202.03555) and
data2vec 2.0, ICML 2023 (arXiv 2212.07525), whose image models normalise and average in this way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.encoders.tokens import PERSONS, distinct
from skelssl.encoders.transformer import Transformer
from skelssl.losses.masked_prediction import masked_mse
from skelssl.runtime.collectives import gather

NORMS = ("instance", "layer")
EPS = 1e-5


class Contextual(NamedTuple):
    """Targets of b distinct sequences, and the row of each of the B = N·M persons of a batch among them."""

    value: Tensor  # (b, L, D)
    present: Tensor  # (b,) bool; absent persons may share one row, the last
    row: Tensor  # (B,)
    mean: Tensor  # (b, D) mean of the last block's output over the tokens
    var: Tensor  # (b, D) its biased variance

    def at(self, index: Tensor) -> Tensor:
        """Return the targets (N·K·M, h, D) of tokens ``index`` (N·K·M, h), with K masks per clip."""
        own = of_masks(self.row, len(index))
        return F.embedding(own[:, None] * self.value.shape[1] + index, self.value.flatten(0, 1))

    def presence(self, count: int) -> Tensor:
        """Return 1 for a present and 0 for an absent person, for all ``count`` = N·K·M masked sequences."""
        return of_masks(self.present[self.row], count).to(self.value.dtype)


def of_masks(person: Tensor, count: int) -> Tensor:
    """Repeat the entries (N·M,) of the persons of a batch for K masks per clip: (N·K·M = ``count``,)."""
    return repeat(person, "(n m) -> (n k m)", m=PERSONS, k=count // len(person))


def contextualise(outputs: Iterable[Tensor], block_norm: str, final_norm: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """Average the normalised outputs of K blocks, y = LN(1/K Σ norm(h)), in at least float32.

    The norms have no affine parameters and eps 1e-5. Only one block's output is in memory at a time.

    Args:
        outputs: h (b, L, D) of each block, at least one.
        block_norm: ``instance`` normalises each channel of a sequence over its tokens, ``layer`` each token over its
            channels.
        final_norm: ``layer`` for the LN of the average; None omits it.

    Returns:
        Targets (b, L, D), and mean and biased variance (b, D) of the last h over its tokens.
    """
    total, count = None, 0
    for output in outputs:
        h = output.to(torch.promote_types(output.dtype, torch.float32))
        mean = h.mean(1, keepdim=True)
        centred = h - mean
        var = centred.square().mean(1, keepdim=True)
        z = centred.mul_((var + EPS).rsqrt()) if block_norm == "instance" else layer_norm(h)
        total, count = z if total is None else total.add_(z), count + 1
    assert total is not None
    y = total.div_(count)
    return layer_norm(y) if final_norm == "layer" else y, mean[:, 0], var[:, 0]


def layer_norm(x: Tensor) -> Tensor:
    """Normalise (..., D) to mean 0 and variance 1 over D."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS)


class ContextualPrediction(nn.Module):
    """Regression of a teacher's targets at the masked tokens.

    Args:
        blocks: K, number of the teacher's last blocks whose outputs, before the final norm, are averaged.
        block_norm: norm of each output, ``instance`` or ``layer``.
        final_norm: norm of the average, ``layer`` or null.
        share_absent: absent persons share one teacher pass, which saves time and has no effect on the result.
        on_absent: absent persons count in the loss, as in the reference.

    Raises:
        UserError: an unknown norm.
    """

    def __init__(
        self,
        *,
        blocks: int = 8,
        block_norm: str = "instance",
        final_norm: str | None = "layer",
        share_absent: bool = True,
        on_absent: bool = True,
    ) -> None:
        super().__init__()
        if block_norm not in NORMS:
            raise UserError(f"loss.block_norm: found {block_norm!r}, expected one of {', '.join(NORMS)}")
        if final_norm not in ("layer", None):
            raise UserError(f"loss.final_norm: found {final_norm!r}, expected layer or null")
        self.blocks, self.block_norm, self.final_norm = blocks, block_norm, final_norm
        self.share_absent, self.on_absent = share_absent, on_absent

    @torch.no_grad()
    def targets(self, teacher: Transformer, x: Tensor) -> Contextual:
        """Compute the targets of all tokens of unmasked clips (N, C, T, V, M).

        Raises UserError if ``teacher`` has fewer blocks than are averaged.
        """
        patches = teacher.patches(x)
        everyone = torch.arange(len(patches), device=x.device)
        rows, row = distinct(patches) if self.share_absent else (everyone, everyone)
        chosen = patches[rows]
        outputs = teacher.block_outputs(teacher.embed_patches(chosen), self.blocks)
        value, mean, var = contextualise(outputs, self.block_norm, self.final_norm)
        return Contextual(value, chosen.flatten(1).any(1), row, mean, var)

    def forward(self, prediction: Tensor, target: Tensor, presence: Tensor) -> Tensor:
        """Return the mean squared error () over masked tokens and channels.

        Without ``on_absent`` the mean is over the present persons of all ranks.

        Args:
            prediction, target: (B, h, D) at the masked tokens.
            presence: (B,) 1 for a present person, 0 for an absent one.
        """
        if self.on_absent:
            return masked_mse(prediction, target)
        weight = presence / gather(presence).mean()
        return (sequence_errors(prediction, target) * weight).mean()


def sequence_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each sequence over its tokens and channels: (B, h, D) -> (B,)."""
    return rearrange((prediction.to(target.dtype) - target).square(), "b h d -> b (h d)").mean(1)
