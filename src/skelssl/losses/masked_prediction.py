"""Prediction of masked tokens: the motion target of MAMP and HA-CM, the coordinates of the MAE baseline, and the loss.

Mao et al., MAMP, ICCV 2023 (arXiv 2308.07092); Yin and Cao, HA-CM, 2024 (arXiv 2409.17951); He et al., MAE, CVPR 2022
(arXiv 2111.06377) for the normalised target.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from skelssl.core.errors import UserError, check_number
from skelssl.encoders.poincare import expmap0, project
from skelssl.encoders.tokens import patchify, take_tokens
from skelssl.views.streams import check_coordinates, positions, steps

TARGETS = ("motion", "coordinates")


def displacement(x: Tensor, stride: int = 1, coordinates: str = "xyz") -> Tensor:
    """Return u[t] = x[t + stride] - x[t] of clips (N, 3, T, V, M), same shape, zero in the last ``stride`` frames."""
    return pad(steps(x, coordinates, stride), (0, 0, 0, 0, 0, stride))


def normalise_tokens(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Normalise each token (..., P) to mean 0 and unbiased variance 1 over its P entries."""
    var, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) * (var + eps).rsqrt()


def masked_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error () over masked tokens and entries, both (B, k, P), in at least float32.

    All sequences have equally many masked tokens, so this is Σ mask·error / Σ mask over the batch, and the mean over
    ranks with equal batches is that of one process.
    """
    wide = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
    return (wide - target).square().mean()


@torch.no_grad()
def channel_std(y: Tensor) -> Tensor:
    """Return the mean over entries of their standard deviation over all tokens, (..., P) -> (); near 0 means collapse.

    data2vec monitors its targets and predictions in this way (Baevski et al., ICML 2022): sqrt(var + 1e-6), unbiased.
    """
    return (y.float().flatten(0, -2).var(0) + 1e-6).sqrt().mean()


class MaskedPrediction(nn.Module):
    """Masked reconstruction of a clip from its visible tokens.

    Args:
        target: ``motion`` (MAMP), or ``coordinates`` (MAE).
        stride: frames between the two ends of a displacement, for ``motion``.
        normalise: normalise each target token by its mean and variance.
        curvature: c > 0 maps each displacement (or position) into the Poincaré ball first (HA-CM); null omits the map.
        coordinates: xyz, or xyc for clips in the image plane. With xyc only x and y are predicted, so a token has
            patch · 2 numbers, and a joint that was not seen counts as motionless.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        *,
        target: str = "motion",
        stride: int = 1,
        normalise: bool = True,
        curvature: float | None = None,
        coordinates: str = "xyz",
    ) -> None:
        super().__init__()
        if target not in TARGETS:
            raise UserError(f"loss.target: found {target!r}, expected one of {', '.join(TARGETS)}")
        if stride < 1:
            raise UserError(f"loss.stride: found {stride}, expected 1 or more")
        if curvature is not None:
            check_number("loss.curvature", curvature, "null or a number above 0", lambda c: c > 0)
        self.target, self.stride, self.normalise, self.curvature = target, stride, normalise, curvature
        self.coordinates = check_coordinates(coordinates)

    @property
    def channels(self) -> int:
        """Return the number of predicted coordinates per joint and frame."""
        return 2 if self.coordinates == "xyc" else 3

    @torch.no_grad()
    def targets(self, x: Tensor, patch: int, hidden: Tensor) -> Tensor:
        """Compute the targets of the masked tokens, in at least float32.

        Args:
            x: clips (N, 3, T, V, M).
            patch: frames of a segment.
            hidden: (N·M, k) indices of the masked tokens.

        Returns:
            (N·M, k, patch·C), C = ``channels``.
        """
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        u = displacement(x, self.stride, self.coordinates) if self.target == "motion" else x
        u = positions(u, self.coordinates)
        if self.curvature is not None:
            u = project(expmap0(u, self.curvature, dim=1), self.curvature, dim=1)
        patches = take_tokens(patchify(u, patch), hidden)
        return normalise_tokens(patches) if self.normalise else patches

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss () of predictions and targets, both (N·M, k, patch·C)."""
        return masked_mse(prediction, target)
