"""Motion-aware masking of MAMP: tokens with more motion are masked more often.

Mao et al., ICCV 2023 (arXiv 2308.07092).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.maskers.tokens import RandomMask, TokenMask, by_person, smallest, token_noise
from skelssl.views.streams import positions, steps


@dataclass(frozen=True, kw_only=True)
class MotionGumbelMask(RandomMask):
    """Masks tokens by Gumbel top-k on a softmax over the motion of all tokens of a person.

    With π = softmax(m / (τ·max m)), the token with the largest motion is at most e^(1/τ) times as likely to be drawn as
    a motionless one. An absent person is masked uniformly.

    Args:
        tau: temperature τ, above 0; for uniform masking use `RandomMask`. The others are those of `RandomMask`.

    Raises:
        UserError: a value is out of its range, or there are fewer than two segments.
    """

    tau: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tau > 0:
            raise UserError(f"masking.tau: found {self.tau}, expected a number above 0")
        if self.segments < 2:
            raise UserError(f"masking.frames: found {self.frames}, expected at least two segments of {self.patch}")

    def __call__(
        self, x: Tensor, generator: torch.Generator | None = None, *, noise: Tensor | None = None
    ) -> TokenMask:
        """Draw the mask of clips (N, C, T, V, M); ``noise`` (N·M, S·V) replaces the uniform draw."""
        x = self.check(x)
        u = token_noise(x, (self.segments * self.joints,), generator, noise)
        return smallest(gumbel_keys(segment_motion(x, self.patch, self.coordinates), u, self.tau), self.visible_tokens)


def segment_motion(x: Tensor, patch: int, coordinates: str = "xyz") -> Tensor:
    """Return the mean absolute change of coordinates between segments, (N, 3, S·patch, V, M) -> (N·M, S, V).

    Frame l of a segment is compared with frame l of the previous segment. The first segment takes the value of the
    second, so there must be at least two.
    """
    change = by_person(positions(steps(x, coordinates, patch), coordinates).abs())
    change = reduce(change, "b (s l) v c -> b s v", "mean", l=patch)
    return torch.cat([change[:, :1], change], dim=1)


def gumbel_keys(motion: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Return log π + Gumbel noise (B, S·V) from motion (B, S, V) and uniform noise (B, S·V); large keys are masked."""
    motion = motion.flatten(1)
    logits = motion / (tau * motion.amax(1, keepdim=True) + 1e-10)
    gumbel = -torch.log(-torch.log(noise + 1e-10) + 1e-10)
    return logits.log_softmax(1) + gumbel
