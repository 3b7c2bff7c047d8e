"""Measure what a method's masks hide of a clip: how much, and whether it is what moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from skelssl.methods.base import Method
from skelssl.methods.visualize import Shown
from skelssl.pretrained.features import evaluating, same_random_state
from skelssl.views.streams import positions, steps


@contextmanager
def untouched(method: Method) -> Iterator[None]:
    """Inside, a method is only looked at: modes, buffers and global random states are as before afterwards."""
    with evaluating(method), same_random_state(method.device), torch.no_grad():
        yield


def figures(shown: Shown, x: Tensor, coordinates: str = "xyz") -> tuple[Tensor, Tensor]:
    """Share () of what a mask hides of a clip (1, 3, T, V, M), and the motion () of that over the motion of all.

    Motion is the length of the step from the frame before; a clip that stands still has a ratio of 0.
    """
    clip = (x if shown.clip is None else shown.clip)[0].cpu()  # (3, T, V, M)
    there = clip.ne(0).any(0).any(0).any(0)  # (M,)
    joints = _joints(shown, clip.shape[2])
    gone = hidden(shown, clip)[:, joints][..., there].double()
    way = torch.zeros(clip.shape[1:], dtype=torch.float64)
    way[1:] = positions(steps(clip.double()[None], coordinates), coordinates)[0].norm(dim=0)
    way = way[:, joints][..., there]
    motion = (gone * way).sum() / gone.sum().clamp(min=1) / way.mean().clamp(min=1e-12)
    return gone.mean(), motion


def _joints(shown: Shown, v: int) -> list[int]:
    """Those a mask chooses from: beside tokens, dropped joints are ones that the encoder never has."""
    never: Any = shown.dropped_joints if shown.tokens is not None else ()
    return [joint for joint in range(v) if joint not in never]


def hidden(shown: Shown, clip: Tensor) -> Tensor:
    """(T, V, M), True where ``shown`` hides a clip (3, T, V, M)."""
    _, t, v, m = clip.shape
    gone = torch.zeros(t, v, m, dtype=torch.bool)
    gone[:, list(shown.dropped_joints)] = True
    if shown.kept_frames is not None:
        lost = torch.ones(t, dtype=torch.bool)
        lost[list(shown.kept_frames)] = False
        gone[lost] = True
    if shown.tokens is not None:
        tokens = shown.tokens.cpu()
        gone |= rearrange(tokens.repeat_interleave(t // tokens.shape[1], 1), "m t v -> t v m")
    return gone
