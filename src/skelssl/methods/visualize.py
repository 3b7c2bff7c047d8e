"""Describe what a method's masks hide of a clip, for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from skelssl.maskers.tokens import TokenMask
from skelssl.views.temporal import crop_resize


@dataclass(frozen=True)
class MaskedClip:
    """What a mask of a method leaves of one clip, for a picture."""

    title: str
    dropped_joints: Sequence[int] = ()
    kept_frames: Sequence[int] | None = None  # None: all of them
    clip: Tensor | None = None  # (1, 3, T', V, M) positions that the mask was drawn for; None: as they were given
    tokens: Tensor | None = None  # (M, S, V), True where hidden; or what tokens weigh, at least 0. S divides T'
    name: str | None = None  # in the keys of metrics; None: nothing that training hides


def resized(x: Tensor, frames: int) -> Tensor:
    """Whole clips (N, C, T, V, M) as long as a grid of tokens wants them: (N, C, ``frames``, V, M), interpolated."""
    length = torch.full((len(x),), x.shape[2], device=x.device)
    return crop_resize(x, torch.zeros_like(length), length, frames)


def hidden_tokens(title: str, clip: Tensor, mask: TokenMask, name: str | None = None) -> MaskedClip:
    """A mask of the tokens of one clip (1, 3, T', V, M), each person's own, to be shown on it."""
    return MaskedClip(title, clip=clip, tokens=rearrange(mask.mask, "m (s v) -> m s v", v=clip.shape[3]), name=name)
