"""Which tokens of a grid a masked transformer hides: always exactly as many, drawn per person-clip.

A masker takes clips (N, C, T, V, M) and a generator, or the uniform noise itself, and gives a ``TokenMask`` for the
B = N·M sequences. It keeps the tokens with the smallest keys; what the keys are made of is the masker's own.
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
    """Tokens s·V + v of each sequence that stay and that go; together all L, each once."""

    visible: Tensor  # (B, l) int64
    hidden: Tensor  # (B, L - l) int64
    mask: Tensor  # (B, L) bool, True where hidden


def kept(total: int, ratio: float) -> int:
    """How many of ``total`` stay when ``ratio`` is hidden: floored in float64, as MAMP and Skeleton2vec do it.

    >>> kept(750, 0.9), [kept(25, ratio) for ratio in (0.80, 0.85, 0.90, 0.95)]
    (74, [4, 3, 2, 1])
    """
    return int(total * (1 - ratio))


def smallest(keys: Tensor, keep: int) -> TokenMask:
    """The ``keep`` smallest keys (B, L) of each row stay, in ascending order; ties go by index on every device."""
    order = keys.argsort(dim=1, stable=True)
    visible, hidden = order[:, :keep], order[:, keep:]
    mask = torch.ones(keys.shape, dtype=torch.bool, device=keys.device).scatter_(1, visible, False)
    return TokenMask(visible, hidden, mask)


@dataclass(frozen=True, kw_only=True)
class TokenMasker:
    """The grid that a masker works on and the share it hides.

    Args:
        layout: name of the body, V joints.
        coordinates: xyz, or xyc for clips in the plane of an image, whose motion is that of x and y.
        frames: T of the clips, a multiple of ``patch``.
        patch: frames of a segment; there are S = T / patch.
        ratio: nominal share that is hidden; see `kept`.
    """

    layout: str = "ntu25"
    coordinates: str = "xyz"
    by_segment: ClassVar[bool] = (
        False  # equally many joints stay in each segment, and masks list them segment by segment
    )

    frames: int = 120
    patch: int = 4
    ratio: float = 0.9

    def __post_init__(self) -> None:
        check_coordinates(self.coordinates)
        if self.patch < 1 or self.frames < self.patch or self.frames % self.patch:
            raise UserError(f"masking.frames: found {self.frames}, expected a multiple of masking.patch = {self.patch}")

    @property
    def segments(self) -> int:
        """S."""
        return self.frames // self.patch

    @property
    def joints(self) -> int:
        """V."""
        return len(load_layout(self.layout).joints)

    def check(self, x: Tensor) -> Tensor:
        """``x``, at least float32; raises UserError for another shape and for values that have no order."""
        if x.ndim != 5 or x.shape[2:] != (self.frames, self.joints, PERSONS):
            raise UserError(
                f"masking input: found shape {tuple(x.shape)}, expected (N, C, {self.frames}, {self.joints}, {PERSONS})"
            )
        check_finite(x)
        return x.detach().to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True, kw_only=True)
class RandomMask(TokenMasker):
    """Hides tokens uniformly at random, one draw over all S·V of them (He et al.: MAE, CVPR 2022).

    ``keep`` sets the number of tokens that stay, so that masks of different kinds can show equally many.
    """

    keep: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"ratio: found {self.ratio}" if self.keep is None else f"keep: found {self.keep}"
        check_keep(found, self.visible_tokens, self.segments * self.joints, "tokens")

    @property
    def visible_tokens(self) -> int:
        """l."""
        return kept(self.segments * self.joints, self.ratio) if self.keep is None else self.keep

    def __call__(
        self, x: Tensor, generator: torch.Generator | None = None, *, noise: Tensor | None = None
    ) -> TokenMask:
        """Clips (N, C, T, V, M) -> the mask; ``noise`` (N·M, S·V) replaces the draw."""
        x = self.check(x)
        return smallest(token_noise(x, (self.segments * self.joints,), generator, noise), self.visible_tokens)


def check_finite(x: Tensor) -> None:
    """Raises UserError for clips ``x`` with values that have no order.

    Values are looked at on the CPU alone. On a GPU the host would wait for the answer in every step, and there too a
    NaN in a token ends the run: it reaches the loss, whether the token is hidden or not.
    """
    if x.device.type == "cpu" and not x.isfinite().all():
        raise UserError("masking input: found NaN or infinite coordinates, expected finite ones")


def check_keep(found: str, keep: int, total: int, what: str) -> None:
    """Raises UserError, which blames the setting ``found``, unless something stays and something is hidden."""
    if not 1 <= keep < total:
        raise UserError(f"masking.{found}, which leaves {keep} of {total} {what} visible, expected 1 to {total - 1}")


def token_noise(x: Tensor, shape: tuple[int, ...], generator: torch.Generator | None, noise: Tensor | None) -> Tensor:
    """U[0, 1) of shape (N·M, *shape) like ``x`` (N, ..., M), drawn on the generator's device; or ``noise``, checked."""
    shape = (len(x) * x.shape[-1], *shape)
    if noise is None:
        device = "cpu" if generator is None else generator.device
        noise = per_clip(partial(torch.rand, dtype=x.dtype, device=device), shape, generator)
    if noise.shape != shape:
        raise UserError(f"masking noise: found shape {tuple(noise.shape)}, expected {shape}")
    return send(noise.to(x.dtype), x.device)


def by_person(x: Tensor) -> Tensor:
    """(N, C, T, V, M) -> (N·M, T, V, C)."""
    return rearrange(x, "n c t v m -> (n m) t v c")
