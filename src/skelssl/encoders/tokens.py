"""Clips as token grids: one token is one joint during one segment of ``patch`` frames.

Token (s, v) has the flat index s·V + v. Both persons of a clip are sequences of their own, B = N·M of them; person m of
clip n is sequence n·M + m. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

PERSONS = 2
# torch 2.6 cannot tell an export from a compilation.
EXPORTING: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def patchify(x: Tensor, patch: int) -> Tensor:
    """Clips (N, C, S·patch, V, M) -> patches (N·M, S·V, patch·C), a patch frame by frame, its coordinates inside."""
    return rearrange(x, "n c (s l) v m -> (n m) (s v) (l c)", l=patch)


def take_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens ``index`` (B, l) of (B, L, D) -> (B, l, D)."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


def put_tokens(base: Tensor, index: Tensor, tokens: Tensor) -> Tensor:
    """``base`` (B, L, D) with ``tokens`` (B, l, D) written at ``index`` (B, l), each index once per row."""
    return base.scatter(1, index[:, :, None].expand_as(tokens), tokens.to(base.dtype))


def once_for_absent(function: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    """``function(patches)``, in which all absent persons share one pass; patches (B, L, P) -> (B, ...).

    An absent person is zeros throughout, and a function that treats its rows one by one and draws nothing gives all of
    them the same result: values and gradients are those of the full pass. On a GPU the host waits for the count. A
    program that is exported has no count: in it everybody has a pass of his own.
    """
    if EXPORTING():
        return function(patches)
    rows, of = distinct(patches)
    return function(patches) if len(rows) == len(patches) else function(patches[rows])[of]


def distinct(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (b,) of patches (B, L, P) in which one absent person, the last, stands for all; and whose row each has (B,).

    An absent person is zeros throughout. On a GPU the host waits for the count.
    """
    present = patches.flatten(1).any(1)
    absent = present.logical_not().nonzero().flatten()[:1]
    rows = torch.cat([present.nonzero().flatten(), absent])
    return rows, torch.where(present, present.cumsum(0), len(rows)) - 1
