"""Collapse metrics of a teacher-student method: values of one step, over the persons of all ranks.

The two metrics of data2vec (Baevski et al., ICML 2022, arXiv 2202.03555) detect tokens that become equal. Targets are
normalised, which hides two other kinds of collapse: features that depend on the grid position only, and a teacher that
shrinks to a constant. The other metrics are ours. The effective rank follows Garrido et al., RankMe, ICML 2023
(arXiv 2210.02885), on centred features.
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
    """Return the sum of ``x`` over ranks."""
    return gather(x[None], even=True).sum(0)


def moments(y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (...), sum of squared deviations (...) and count () of rows (R, ...) of all ranks.

    ``weight`` (R,) is 0 or 1. Two passes are needed: for nearly equal rows E[y²] - E[y]² would be rounding error.
    """
    count = over_ranks(weight.sum()).clamp(min=1)
    mean = over_ranks(torch.einsum("r,r...->...", weight, y)) / count
    return mean, over_ranks(torch.einsum("r,r...->...", weight, (y - mean).square())), count


def token_std(y: Tensor, presence: Tensor) -> Tensor:
    """Return data2vec's metric (): unbiased √(variance + 1e-6) of each channel over tokens (B, h, D), mean over D.

    ``presence`` (B,), 1 or 0, excludes absent persons.
    """
    rows = rearrange(y.to(presence.dtype), "b h d -> (b h) d")
    _, squares, count = moments(rows, presence.repeat_interleave(y.shape[1]))
    return (squares / (count - 1).clamp(min=1) + 1e-6).sqrt().mean()


@torch.no_grad()
def collapse_metrics(target: Contextual, prediction: Tensor, aim: Tensor, presence: Tensor) -> dict[str, Tensor]:
    """Return the metrics of one step by name, each ().

    target_std, prediction_std: `token_std` of the masked tokens. raw_token_std: standard deviation of the teacher's
    last block over a person's tokens, before any norm. cross_sample_std: standard deviation of the target over persons
    at each grid position. position_r2: fraction of the target's variance explained by the grid position.
    prediction_skill: 1 - loss / (error of predicting the mean of each position). loss_present, loss_absent: the loss of
    present and absent persons.

    Args:
        target: targets of the batch.
        prediction, aim: predictions and targets (B, h, D) at the masked tokens.
        presence: (B,) 1 for a present person, 0 for an absent one.
    """
    with torch.autocast(aim.device.type, enabled=False):  # bfloat16 sums have only two or three digits
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
    """Return the standard deviation () of each channel of L2-normalised features (R, D), mean over D, times √D.

    It is 0 if all features point in one direction and 1 if they are isotropic (Chen and He, SimSiam, CVPR 2021,
    section 4.1).
    """
    rows = F.normalize(features.float(), dim=1)
    return rows.std(0, correction=0).mean() * math.sqrt(features.shape[1])


@torch.no_grad()
def products(features: Tensor, there: Tensor | None = None) -> Tensor:
    """Return Σ (1, x)ᵀ(1, x) of features (R, D), (D + 1, D + 1) in float64, as `effective_rank` takes it.

    One batch has too few persons to determine the rank, but the products add up over an epoch and over ranks. ``there``
    (R,) selects the rows of present persons. The others are set to zero, so that the host need not wait for their
    number.
    """
    wide = features if features.device.type == "mps" else features.double()  # MPS has no float64
    rows = F.pad(wide, (1, 0), value=1.0)
    rows = rows if there is None else rows * there[:, None]
    return rows.T @ rows


@torch.no_grad()
def effective_rank(sums: Tensor) -> Tensor:
    """Return the exponential of the entropy of the singular values of all R centred features.

    It is between 1 and min(R - 1, D). Directions below 1e-14 of the sum of squares are rounding error and ignored.

    Args:
        sums: `products` (D + 1, D + 1), summed over batches and ranks.
    """
    count, total = sums[0, 0].clamp(min=1), sums[0, 1:]
    squares = torch.linalg.eigvalsh(sums[1:, 1:] - torch.outer(total, total) / count)
    values = squares.where(squares > 1e-14 * sums.trace(), 0).sqrt()
    share = values / values.sum().clamp(min=1e-12)
    rank: Tensor = torch.special.entr(share).sum().exp()
    return rank


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Checks the metrics of an epoch after ``after_steps`` optimiser steps; earlier values are not informative.

    Args:
        after_steps: 5,000 as in data2vec.
        abort: target_std and prediction_std end the run, as in data2vec; all others only warn.
    """

    after_steps: int = 5000
    abort: bool = True

    def check(self, means: Mapping[str, float], steps: int) -> None:
        """Warn of every metric out of its bounds; raise Diverged for a fatal one.

        Args:
            means: metrics by name, averaged over the epoch.
            steps: optimiser steps so far.
        """
        if steps < self.after_steps:
            return
        for name, found in means.items():
            low, high = BOUNDS.get(name, (-math.inf, math.inf))
            if not low <= found <= high:
                expected = f"at least {low:g}" if high == math.inf else f"at most {high:g}"
                sentence = f"train/{name}: found {found:.3g} after {steps} steps, expected {expected}"
                if self.abort and name in FATAL:
                    raise Diverged(f"{sentence}: the features have collapsed; method.collapse.abort=false only warns")
                rank_zero_warn(sentence)
