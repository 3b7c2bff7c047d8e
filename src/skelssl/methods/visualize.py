"""Describe what a method's masks hide of a clip: for pictures, and in numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import lightning as L
import torch
from einops import rearrange
from torch import Tensor

from skelssl.maskers.tokens import TokenMask
from skelssl.pretrained.features import evaluating, same_random_state
from skelssl.views.streams import positions, steps
from skelssl.views.temporal import crop_resize


@dataclass(frozen=True)
class MaskedClip:
    """What a mask of a method leaves of one clip, or how a method weighs the clip's tokens."""

    title: str
    dropped_joints: Sequence[int] = ()
    kept_frames: Sequence[int] | None = None  # None: all of them
    clip: Tensor | None = None  # (1, 3, T', V, M) positions that the mask was drawn for; None: the given clip
    tokens: Tensor | None = None  # (M, S, V), True where masked; or what tokens weigh, at least 0. S divides T'
    name: str | None = None  # in the keys of metrics; None: not a mask of training


def resized(x: Tensor, frames: int) -> Tensor:
    """Interpolate whole clips (N, C, T, V, M) to the length of a token grid: (N, C, ``frames``, V, M)."""
    length = torch.full((len(x),), x.shape[2], device=x.device)
    return crop_resize(x, torch.zeros_like(length), length, frames)


def hidden_tokens(title: str, clip: Tensor, mask: TokenMask, name: str | None = None) -> MaskedClip:
    """Describe a mask of the tokens of one clip (1, 3, T', V, M), drawn for each person."""
    return MaskedClip(title, clip=clip, tokens=rearrange(mask.mask, "m (s v) -> m s v", v=clip.shape[3]), name=name)


def above_least(scores: Tensor) -> Tensor:
    """Return scores (M, S, V) minus the smallest one of each person."""
    return scores - scores.amin((1, 2), keepdim=True)


@contextmanager
def untouched(method: L.LightningModule) -> Iterator[None]:
    """Put a method into evaluation mode; modes, buffers and global random states are as before afterwards."""
    with evaluating(method), same_random_state(method.device), torch.no_grad():
        yield


def mask_metrics(mask: MaskedClip, x: Tensor, coordinates: str = "xyz") -> tuple[Tensor, Tensor]:
    """Return the masked fraction () of a clip (1, 3, T, V, M), and the motion () there over the motion everywhere.

    Motion is the length of the step from the frame before; a clip that stands still has a ratio of 0. Absent persons
    do not count.
    """
    clip = (x if mask.clip is None else mask.clip)[0].cpu()  # (3, T, V, M)
    present = clip.ne(0).any(0).any(0).any(0)  # (M,)
    # Beside tokens, dropped joints are ones that the encoder never has, so a mask does not choose among them.
    never: Collection[int] = mask.dropped_joints if mask.tokens is not None else ()
    joints = [joint for joint in range(clip.shape[2]) if joint not in never]
    masked = hidden(mask, clip)[:, joints][..., present].double()
    motion = torch.zeros(clip.shape[1:], dtype=torch.float64)
    motion[1:] = positions(steps(clip.double()[None], coordinates), coordinates)[0].norm(dim=0)
    motion = motion[:, joints][..., present]
    ratio = (masked * motion).sum() / masked.sum().clamp(min=1) / motion.mean().clamp(min=1e-12)
    return masked.mean(), ratio


def hidden(mask: MaskedClip, clip: Tensor) -> Tensor:
    """Return (T, V, M), True where ``mask`` hides a clip (3, T, V, M)."""
    _, t, v, m = clip.shape
    masked = torch.zeros(t, v, m, dtype=torch.bool)
    masked[:, list(mask.dropped_joints)] = True
    if mask.kept_frames is not None:
        lost = torch.ones(t, dtype=torch.bool)
        lost[list(mask.kept_frames)] = False
        masked[lost] = True
    if mask.tokens is not None:
        tokens = mask.tokens.cpu()
        masked |= rearrange(tokens.repeat_interleave(t // tokens.shape[1], 1), "m t v -> t v m")
    return masked
