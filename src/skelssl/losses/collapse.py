"""Signs that a teacher-student method is about to collapse: figures of one step, over the persons of all ranks.

data2vec's two (Baevski et al., ICML 2022) see tokens that become equal. Targets are normalised, which hides two other
ends: features that depend on the place in the grid alone, and a teacher that shrinks to a constant. The figures beside
them are ours; effective rank follows Garrido et al., RankMe, ICML 2023 (arXiv 2210.02885), on centred features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from skelssl.core.errors import Diverged
from skelssl.losses.contextual import Contextual, sequence_errors
from skelssl.runtime.collectives import gather

BOUNDS = {
    "target_std": (0.1, math.inf), "prediction_std": (0.01, math.inf), "raw_token_std": (1e-3, math.inf),
    "cross_sample_std": (0.1, math.inf), "position_r2": (-math.inf, 0.95), "prediction_skill": (0.0, math.inf),
    "effective_rank": (10.0, math.inf),
}  # fmt: skip
FATAL = ("target_std", "prediction_std")  # data2vec stops at these two


def over_ranks(x: Tensor) -> Tensor:
    """The sum of ``x`` over ranks."""
    return gather(x[None], even=True).sum(0)


def moments(y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (R, ...) of all ranks with weights (R,) of 0 or 1 -> mean (...), summed squares about it (...), count ().

    Two passes: where all rows are nearly equal, E[y²] - E[y]² would be rounding alone.
    """
    count = over_ranks(weight.sum()).clamp(min=1)
    mean = over_ranks(torch.einsum("r,r...->...", weight, y)) / count
    return mean, over_ranks(torch.einsum("r,r...->...", weight, (y - mean).square())), count


def token_std(y: Tensor, presence: Tensor) -> Tensor:
    """data2vec's scalar: √(variance + 1e-6) of a channel over all tokens (B, h, D), unbiased; its mean over D."""
    rows = rearrange(y.to(presence.dtype), "b h d -> (b h) d")
    _, squares, count = moments(rows, presence.repeat_interleave(y.shape[1]))
    return (squares / (count - 1).clamp(min=1) + 1e-6).sqrt().mean()


@torch.no_grad()
def collapse_metrics(target: Contextual, prediction: Tensor, aim: Tensor, presence: Tensor) -> dict[str, Tensor]:
    """What one step says, all of them ().

    target_std, prediction_std: `token_std` of the hidden tokens. raw_token_std: deviation over a person's tokens of
    the teacher's last block, before any norm. cross_sample_std: deviation of the target over persons, at each place
    of the grid. position_r2: share of the target's variance that its place explains. prediction_skill: 1 - loss over
    the error of predicting each place's mean. loss_present, loss_absent: the loss of those who are there, and not.

    Args:
        target: targets of the batch.
        prediction, aim: (B, h, D) at the hidden tokens.
        presence: (B,) 1 or 0.
    """
    with torch.autocast(aim.device.type, enabled=False):  # bfloat16 sums would show two digits
        there = target.present.to(target.value.dtype)
        mean, squares, count = moments(target.value, there)
        within = squares / count
        errors = sequence_errors(prediction, aim)
        loss_present, loss_absent = (moments(errors, weight)[0] for weight in (presence, 1 - presence))
        total = within.mean(0) + mean.var(0, correction=0)
        return {
            "target_std": token_std(aim, presence),
            "prediction_std": token_std(prediction, presence),
            "raw_token_std": moments(target.var.sqrt().mean(1), there)[0],
            "cross_sample_std": (squares / (count - 1).clamp(min=1)).sqrt().mean(),
            "position_r2": 1 - within.mean() / total.mean().clamp(min=1e-12),
            "prediction_skill": 1 - loss_present / within.mean().clamp(min=1e-12),
            "loss_present": loss_present,
            "loss_absent": loss_absent,
        }


@torch.no_grad()
def unit_std(features: Tensor) -> Tensor:
    """Deviation () of a channel of the unit vectors along features (R, D), mean over D, times √D.

    0 where all point one way, 1 where they point everywhere (Chen and He, SimSiam, CVPR 2021, section 4.1).
    """
    rows = F.normalize(features.float(), dim=1)
    return rows.std(0, correction=0).mean() * math.sqrt(features.shape[1])


@torch.no_grad()
def products(features: Tensor, there: Tensor | None = None) -> Tensor:
    """Features (R, D) -> Σ (1, x)ᵀ(1, x), (D + 1, D + 1) in float64: what `effective_rank` needs, and it adds up.

    A batch has fewer persons than a rank needs to be seen; the sum over an epoch, and over ranks, has them all. Only
    rows that are ``there`` (R,) count: the others become zeros, as the host must not wait for how many there are.
    """
    wide = features if features.device.type == "mps" else features.double()  # MPS has no float64
    rows = F.pad(wide, (1, 0), value=1.0)
    rows = rows if there is None else rows * there[:, None]
    return rows.T @ rows


@torch.no_grad()
def effective_rank(sums: Tensor) -> Tensor:
    """exp of the entropy of the singular values of all R centred features in the `products` (D + 1, D + 1).

    From 1 to min(R - 1, D). Directions below rounding, 1e-14 of the sum of squares, count as none.
    """
    count, total = sums[0, 0].clamp(min=1), sums[0, 1:]
    squares = torch.linalg.eigvalsh(sums[1:, 1:] - torch.outer(total, total) / count)
    values = squares.where(squares > 1e-14 * sums.trace(), 0).sqrt()
    share = values / values.sum().clamp(min=1e-12)
    rank: Tensor = torch.special.entr(share).sum().exp()
    return rank


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Looks at an epoch's figures once ``after_steps`` optimiser steps are done: earlier ones say little.

    Args:
        after_steps: data2vec's 5,000.
        abort: target_std and prediction_std end the run, as in data2vec; all others only warn.
    """

    after_steps: int = 5000
    abort: bool = True

    def check(self, means: Mapping[str, float], steps: int) -> None:
        """Warns of every figure out of its bounds; raises Diverged for a fatal one."""
        if steps < self.after_steps:
            return
        for name, found in means.items():
            low, high = BOUNDS.get(name, (-math.inf, math.inf))
            if not low <= found <= high:
                expected = f"at least {low:g}" if high == math.inf else f"at most {high:g}"
                sentence = f"train/{name}: found {found:.3g} after {steps} steps, expected {expected}"
                if self.abort and name in FATAL:
                    raise Diverged(f"{sentence}: the features have collapsed; method.collapse.abort=false goes on")
                rank_zero_warn(sentence)
