"""Cross-contrast of HA-CM: each of the two groups of visible tokens identifies its person-clip among the others.

Yin and Cao, HA-CM, 2024 (arXiv 2409.17951). The public code has three terms; the paper's figure shows the first two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skelssl.core.errors import UserError, check_flag
from skelssl.runtime.collectives import gather, world_size

TERMS = ("P1", "P2", "P3")


class Views(NamedTuple):
    """Mean token of each person-clip, (B, D) each."""

    odd: Tensor  # a: tokens chosen by attention, segments 1, 3, ... in the paper's count
    even: Tensor  # b: tokens chosen by the hierarchy
    all: Tensor  # c: both


def cross_views(tokens: Tensor) -> Views:
    """Return the means of encoded tokens (B, 2K, D) over the attention group (first half), the other, and both."""
    odd, even = (half.mean(1) for half in tokens.chunk(2, dim=1))
    return Views(odd, even, (odd + even) / 2)


def match_loss(p: Tensor, q: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the mean square () of softmax_j(p_i · q_j) - 1[i = j] over the rows and columns that are ``present``.

    Uniform rows give (1/B)(1 - 1/B), perfect matches 0.

    Args:
        p, q: (B, D) in at least float32, because the products are not normalised: half precision cannot resolve
            values up to D.
        present: (B,) bool; None means all.
    """
    logits, target = p @ q.T, torch.eye(len(p), dtype=p.dtype, device=p.device)
    if present is None:
        return (logits.softmax(1) - target).square().mean()
    error = (logits.masked_fill(~present, -torch.inf).softmax(1) - target).square()
    count = present.sum().clamp(min=1)
    return torch.where(present[:, None] & present, error, 0.0).sum() / count**2


class CrossContrast(nn.Module):
    """Sum of `match_loss` over terms: P1 = even against all, P2 = odd against all, P3 = odd against even.

    Args:
        terms: a subset of P1, P2, P3. The paper's figure has [P1, P2].
        gather: contrast the person-clips of all ranks. Without it each rank contrasts its local ones, and the loss
            depends on the number of ranks; in one process there is no difference.
        mask_empty: exclude absent persons, which are all equal, from queries and keys.

    Raises:
        UserError: an unknown or repeated term, or a flag that is not a bool.
    """

    def __init__(self, *, terms: Sequence[str] = TERMS, gather: bool = True, mask_empty: bool = False) -> None:
        super().__init__()
        listed = list(terms) if isinstance(terms, Sequence) and not isinstance(terms, str) else []
        if not listed or any(term not in TERMS for term in listed) or any(listed.count(term) > 1 for term in listed):
            raise UserError(f"loss.contrast.terms: found {terms!r}, expected a list of {', '.join(TERMS)}, each once")
        check_flag("loss.contrast.gather", gather)
        check_flag("loss.contrast.mask_empty", mask_empty)
        self.terms, self.gather, self.mask_empty = tuple(terms), gather, mask_empty

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Return the loss (), computed in at least float32 even under autocast.

        Args:
            tokens: encoded visible tokens (B, 2K, D), those of the attention group first.
            present: (B,) bool, False for an absent person.
        """
        with torch.autocast(tokens.device.type, enabled=False):
            means = cross_views(tokens.to(torch.promote_types(tokens.dtype, torch.float32)))
            if self.gather and world_size() > 1:  # one collective for all
                rows = gather(torch.cat([means.odd, means.even, present.to(means.odd)[:, None]], dim=1))
                odd, even = rows[:, :-1].chunk(2, dim=1)
                means, present = Views(odd, even, (odd + even) / 2), rows[:, -1] > 0
            pairs = {"P1": (means.even, means.all), "P2": (means.odd, means.all), "P3": (means.odd, means.even)}
            there = present if self.mask_empty else None
            return torch.stack([match_loss(*pairs[term], there) for term in self.terms]).sum()
