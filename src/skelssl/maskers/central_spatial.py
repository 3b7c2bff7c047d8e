"""Central spatial masking: joints of high degree centrality are dropped more often.

Zhou et al., PSTL, AAAI 2023 (arXiv 2302.09018).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from skelssl.core.errors import UserError
from skelssl.skeleton.layout import load_layout

SAMPLINGS = ("multiset", "distinct", "random", "part")


@dataclass(frozen=True, kw_only=True)
class CentralSpatialMask:
    """Draws the joints to drop, once for a whole batch.

    ``multiset``: ``mask_joint`` draws without replacement from a bag that holds each joint as often as it has
    neighbours (the PSTL code). A joint can be drawn twice, so fewer than m = ``mask_joint`` may be dropped: a joint of
    degree d is dropped with probability 1 - C(E-d, m)/C(E, m), where E is the sum of the degrees.
    ``distinct``: m distinct joints, drawn one after the other with probability proportional to their degree.
    ``random``: m distinct joints, drawn uniformly. ``part``: ``mask_part`` body parts, drawn uniformly.

    Args:
        layout: name of the skeleton layout.
        mask_joint: number of draws m, below the number of joints.
        mask_part: number of body parts, below that of the layout.
        sampling: ``multiset``, ``distinct``, ``random`` or ``part``.

    Raises:
        UserError: a value is out of its range.
    """

    layout: str = "ntu25"
    mask_joint: int = 8
    mask_part: int = 1
    sampling: str = "multiset"

    def __post_init__(self) -> None:
        body = load_layout(self.layout)
        if self.sampling not in SAMPLINGS:
            raise UserError(f"csm.sampling: found {self.sampling!r}, expected one of {', '.join(SAMPLINGS)}")
        for key, total in (("mask_joint", len(body.joints)), ("mask_part", len(body.parts))):
            if not 1 <= (found := getattr(self, key)) < total:
                raise UserError(f"csm.{key}: found {found}, expected 1 to {total - 1}")

    def __call__(self, generator: torch.Generator | None = None) -> list[int]:
        """Draw the joints to drop and return their indices, ascending and without repetition."""
        body = load_layout(self.layout)
        degree = torch.from_numpy(body.degree)
        if self.sampling == "multiset":
            bag = torch.arange(len(degree)).repeat_interleave(degree)
            drawn = bag[torch.randperm(len(bag), generator=generator)[: self.mask_joint]]
        elif self.sampling == "distinct":
            drawn = torch.multinomial(degree.double(), self.mask_joint, generator=generator)
        elif self.sampling == "random":
            drawn = torch.randperm(len(degree), generator=generator)[: self.mask_joint]
        else:
            parts = torch.randperm(len(body.parts), generator=generator)[: self.mask_part].tolist()
            members = list(body.parts.values())
            return sorted(joint for part in parts for joint in members[part])
        return sorted(set(drawn.tolist()))
