"""Token masks of masked transformers, with a fixed number of masked tokens, drawn per person-clip.

A masker takes clips (N, C, T, V, M) and a generator, or the uniform noise itself, and returns a ``TokenMask`` for the
B = N·M sequences. The tokens with the smallest keys stay visible; each masker defines its keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.encoders.tokens import PERSONS
from skelssl.runtime.devices import send
from skelssl.runtime.draws import per_clip
from skelssl.skeleton.layout import load_layout
from skelssl.views.streams import check_coordinates


class TokenMask(NamedTuple):
    """Visible and masked tokens s·V + v of each sequence; together all L tokens, each exactly once."""

    visible: Tensor  # (B, l) int64
    hidden: Tensor  # (B, L - l) int64
    mask: Tensor  # (B, L) bool, True where masked


def kept(total: int, ratio: float) -> int:
    """Return how many of ``total`` stay visible at masking ratio ``ratio``.

    The number is floored in float64, as in MAMP and Skeleton2vec.

    >>> kept(750, 0.9), [kept(25, ratio) for ratio in (0.80, 0.85, 0.90, 0.95)]
    (74, [4, 3, 2, 1])
    """
    return int(total * (1 - ratio))


def smallest(keys: Tensor, keep: int) -> TokenMask:
    """Leave the ``keep`` smallest keys (B, L) of each row visible, in ascending order; ties are broken by index."""
    order = keys.argsort(dim=1, stable=True)
    visible, hidden = order[:, :keep], order[:, keep:]
    mask = torch.ones(keys.shape, dtype=torch.bool, device=keys.device).scatter_(1, visible, False)
    return TokenMask(visible, hidden, mask)


@dataclass(frozen=True, kw_only=True)
class TokenMasker:
    """Token grid and masking ratio of a masker.

    Args:
        layout: name of the skeleton layout, V joints.
        coordinates: xyz, or xyc for clips in the image plane, whose motion is that of x and y.
        frames: T of the clips, a multiple of ``patch``.
        patch: frames of a segment; there are S = T / patch.
        ratio: nominal masking ratio; see `kept`.

    Raises:
        UserError: ``frames`` is not a multiple of ``patch``, or ``coordinates`` is unknown.
    """

    layout: str = "ntu25"
    coordinates: str = "xyz"
    # All segments have equally many visible joints, and masks list tokens segment by segment.
    by_segment: ClassVar[bool] = False

    frames: int = 120
    patch: int = 4
    ratio: float = 0.9

    def __post_init__(self) -> None:
        check_coordinates(self.coordinates)
        if self.patch < 1 or self.frames < self.patch or self.frames % self.patch:
            raise UserError(f"masking.frames: found {self.frames}, expected a multiple of masking.patch = {self.patch}")

    @property
    def segments(self) -> int:
        """Return S, the number of segments."""
        return self.frames // self.patch

    @property
    def joints(self) -> int:
        """Return V, the number of joints."""
        return len(load_layout(self.layout).joints)

    def check(self, x: Tensor) -> Tensor:
        """Return ``x`` in at least float32; raise UserError for another shape and for NaN or infinite values."""
        if x.ndim != 5 or x.shape[2:] != (self.frames, self.joints, PERSONS):
            raise UserError(
                f"masking input: found shape {tuple(x.shape)}, expected (N, C, {self.frames}, {self.joints}, {PERSONS})"
            )
        check_finite(x)
        return x.detach().to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True, kw_only=True)
class RandomMask(TokenMasker):
    """Masks tokens uniformly at random over all S·V tokens (He et al., MAE, CVPR 2022, arXiv 2111.06377).

    Args:
        keep: number of visible tokens in place of ``ratio``, so that masks of different kinds can have equally many.
            The others are those of `TokenMasker`.

    Raises:
        UserError: a value is out of its range.
    """

    keep: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"ratio: found {self.ratio}" if self.keep is None else f"keep: found {self.keep}"
        check_keep(found, self.visible_tokens, self.segments * self.joints, "tokens")

    @property
    def visible_tokens(self) -> int:
        """Return l, the number of visible tokens per sequence."""
        return kept(self.segments * self.joints, self.ratio) if self.keep is None else self.keep

    def __call__(
        self, x: Tensor, generator: torch.Generator | None = None, *, noise: Tensor | None = None
    ) -> TokenMask:
        """Draw the mask of clips (N, C, T, V, M); ``noise`` (N·M, S·V) replaces the draw."""
        x = self.check(x)
        return smallest(token_noise(x, (self.segments * self.joints,), generator, noise), self.visible_tokens)


def check_finite(x: Tensor) -> None:
    """Raise UserError for clips ``x`` with NaN or infinite values, which have no order.

    Only clips on the CPU are checked, because on a GPU the host would wait for the result in every step. There a NaN
    ends the run as well: it reaches the loss whether its token is masked or visible.
    """
    if x.device.type == "cpu" and not x.isfinite().all():
        raise UserError("masking input: found NaN or infinite coordinates, expected finite ones")


def check_keep(found: str, keep: int, total: int, what: str) -> None:
    """Raise UserError, which names the setting ``found``, unless ``keep`` of ``total`` is at least 1 and below all."""
    if not 1 <= keep < total:
        raise UserError(f"masking.{found}, which leaves {keep} of {total} {what} visible, expected 1 to {total - 1}")


def token_noise(x: Tensor, shape: tuple[int, ...], generator: torch.Generator | None, noise: Tensor | None) -> Tensor:
    """Draw U[0, 1) noise (N·M, *shape) for ``x`` (N, ..., M) on the generator's device, or return ``noise``, checked.

    Raises UserError for ``noise`` of another shape.
    """
    shape = (len(x) * x.shape[-1], *shape)
    if noise is None:
        device = "cpu" if generator is None else generator.device
        noise = per_clip(partial(torch.rand, dtype=x.dtype, device=device), shape, generator)
    if noise.shape != shape:
        raise UserError(f"masking noise: found shape {tuple(noise.shape)}, expected {shape}")
    return send(noise.to(x.dtype), x.device)


def by_person(x: Tensor) -> Tensor:
    """Rearrange (N, C, T, V, M) -> (N·M, T, V, C)."""
    return rearrange(x, "n c t v m -> (n m) t v c")
