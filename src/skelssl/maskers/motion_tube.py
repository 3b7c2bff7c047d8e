"""Motion-aware tube masking of Skeleton2vec: a joint is masked over all segments of a tube.

Xu et al., Skeleton2vec, 2024 (arXiv 2401.00921).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor
from torch.nn.functional import pad

from skelssl.core.errors import UserError
from skelssl.maskers.tokens import TokenMask, TokenMasker, by_person, check_keep, kept, token_noise
from skelssl.views.streams import positions, steps


@dataclass(frozen=True, kw_only=True)
class MotionTubeMask(TokenMasker):
    """Cuts time into tubes and leaves the joints with the smallest u + β·m̂ of each tube visible.

    u is uniform noise, and m̂ is the motion of a joint divided by the largest of its tube. All tubes have equally many
    visible joints. Because the reference floors that number, a nominal masking ratio of 0.90 leaves 2 of 25 joints
    visible and hence masks 0.92.

    Args:
        frames, patch: as in `TokenMasker`.
        tube: segments of a tube, α; with 1 every segment is drawn independently.
        beta: weight β of the motion; 0 is plain tube masking.

    Raises:
        UserError: a value is out of its range.
    """

    by_segment: ClassVar[bool] = True

    frames: int = 90
    patch: int = 3
    tube: int = 5
    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tube < 1 or self.segments % self.tube:
            raise UserError(
                f"masking.tube: found {self.tube}, expected a divisor of the {self.segments} segments "
                f"({self.frames} frames in patches of {self.patch})"
            )
        if not self.beta >= 0:
            raise UserError(f"masking.beta: found {self.beta}, expected a number of at least 0")
        check_keep(f"ratio: found {self.ratio}", self.visible_joints, self.joints, "joints")

    @property
    def visible_joints(self) -> int:
        """Return k, the number of visible joints per tube."""
        return kept(self.joints, self.ratio)

    def __call__(
        self, x: Tensor, generator: torch.Generator | None = None, *, noise: Tensor | None = None
    ) -> TokenMask:
        """Draw the mask of clips (N, C, T, V, M), segment by segment; ``noise`` (N·M, S/tube, V) replaces the draw."""
        x = self.check(x)
        u = token_noise(x, (self.segments // self.tube, self.joints), generator, noise)
        scores = u + self.beta * relative_motion(tube_motion(x, self.patch * self.tube, self.coordinates))
        return tubes(scores, self.visible_joints, self.tube)


def tube_motion(x: Tensor, frames: int, coordinates: str = "xyz") -> Tensor:
    """Return the mean |x[t+1] - x[t]| over a tube's frames and the coordinates, (N, 3, T, V, M) -> (N·M, T/frames, V).

    The last frame has no successor and counts as motionless.
    """
    change = pad(by_person(positions(steps(x, coordinates), coordinates).abs()), (0, 0, 0, 0, 0, 1))
    return reduce(change, "b (g l) v c -> b g v", "mean", l=frames)


def relative_motion(motion: Tensor) -> Tensor:
    """Divide motion (B, G, V) by the largest of its tube, to [0, 1); motion far below 1e-6 tends to 0."""
    return motion / (motion.amax(2, keepdim=True) + 1e-6)


def tubes(scores: Tensor, keep: int, tube: int) -> TokenMask:
    """Leave the ``keep`` smallest scores (B, G, V) of each tube visible in all its ``tube`` segments.

    Within a segment both lists are in the order of the scores. The flat un-shuffle of the decoder relies on this.
    """
    joints, segments = scores.shape[2], scores.shape[1] * tube
    order = repeat(scores.argsort(dim=2, stable=True), "b g v -> b (g l) v", l=tube)
    places = order + joints * torch.arange(segments, device=scores.device)[:, None]
    visible, hidden = (rearrange(part, "b s v -> b (s v)") for part in (places[..., :keep], places[..., keep:]))
    mask = torch.ones(len(scores), segments * joints, dtype=torch.bool, device=scores.device)
    return TokenMask(visible, hidden, mask.scatter_(1, visible, False))
