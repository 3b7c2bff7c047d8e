"""Clips as token grids: one token is one joint during one segment of ``patch`` frames.

Token (s, v) has the flat index s·V + v. Each person of a clip is a separate sequence: person m of clip n is sequence
n·M + m of B = N·M. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

PERSONS = 2
# torch 2.6 does not distinguish an export from a compilation.
EXPORTING: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut clips (N, C, S·patch, V, M) into patches (N·M, S·V, patch·C), each one frame-major, then coordinates."""
    return rearrange(x, "n c (s l) v m -> (n m) (s v) (l c)", l=patch)


def take_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Gather the tokens ``index`` (B, l) of ``tokens`` (B, L, D) -> (B, l, D)."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


def put_tokens(base: Tensor, index: Tensor, tokens: Tensor) -> Tensor:
    """Return ``base`` (B, L, D) with ``tokens`` (B, l, D) written at ``index`` (B, l), distinct within each row."""
    return base.scatter(1, index[:, :, None].expand_as(tokens), tokens.to(base.dtype))


def once_for_absent(function: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    """Return ``function(patches)`` with one pass shared by all absent persons; patches (B, L, P) -> (B, ...).

    An absent person is all zeros, so a function that treats rows independently and draws no random numbers gives the
    same result for all of them. Values and gradients are those of the full pass. On a GPU the host waits for the number
    of present persons. An exported program cannot depend on that number, so it passes every person.
    """
    if EXPORTING():
        return function(patches)
    rows, of = distinct(patches)
    return function(patches) if len(rows) == len(patches) else function(patches[rows])[of]


def distinct(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return indices (b,) of present persons in patches (B, L, P) plus one absent one, and the row of each person (B,).

    The absent person comes last and represents all of them. An absent person is all zeros. On a GPU the host waits for
    the number of present persons.
    """
    present = patches.flatten(1).any(1)
    absent = present.logical_not().nonzero().flatten()[:1]
    rows = torch.cat([present.nonzero().flatten(), absent])
    return rows, torch.where(present, present.cumsum(0), len(rows)) - 1
