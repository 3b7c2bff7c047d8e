"""Views of skeleton-contrast: a window of 64 frames, then shear or joint jittering.

Thoker, Doughty, Snoek, ACM MM 2021 (arXiv 2108.03656).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.runtime.devices import send
from skelssl.skeleton.layout import load_layout
from skelssl.views import masked
from skelssl.views.spatial import draw_shear, shear_matrix, uniform

SPATIAL = ("shear", "jitter")


class CentreView(masked.CentreView):
    """The middle of each clip, resized to ``frames``, without randomness: the view of tests and of retrieval.

    Args:
        frames: T'.
        ratio: fraction of the valid frames, in (0, 1].
        body: layout, coordinates and stream, as in `skelssl.views.base.View`; the paper's stream is joint.
    """

    def __init__(self, *, frames: int = 64, ratio: float = 0.95, **body: str) -> None:
        super().__init__(frames=frames, ratio=ratio, **body)


class CropView(masked.CropView):
    """A random window of each clip, resized to ``frames``, without rotation: the view that trains a probe.

    Args:
        frames: T'.
        crop_ratio: smallest and largest fraction of the valid frames, drawn uniformly.
        min_frames: smallest number of frames of a window; a shorter clip is used as a whole.
        body: layout, coordinates and stream, as in `skelssl.views.base.View`.
    """

    keys: ClassVar[tuple[str, str]] = ("crop_ratio", "min_frames")

    def __init__(
        self, *, frames: int = 64, crop_ratio: Sequence[float] = (0.5, 1.0), min_frames: int = 64, **body: str
    ) -> None:
        super().__init__(frames=frames, ratio=crop_ratio, minimum=min_frames, rotation=None, **body)


class ContrastView(CropView):
    """A random window, then one spatial augmentation of ``spatial``, each equally likely: the view of pre-training.

    shear: one matrix with a unit diagonal and off-diagonals U(-amplitude, amplitude) for the whole clip. jitter:
    ``jitter_joints`` joints, the same in all frames and persons, are set to zero with probability ``zero_p``, else
    multiplied by one 3 x 3 matrix of entries U(-amplitude, amplitude). All of it is one linear map per joint. With
    ``xyc`` shear and matrix are those of x and y, and only a joint that vanishes loses its confidence.

    Args:
        frames, crop_ratio, min_frames, body: as in `CropView`.
        spatial: augmentations to choose from; an empty list leaves the positions as they are.
        jitter_joints: number of joints that jittering changes.
        zero_p: probability that the joints of a jittered clip vanish.
        amplitude: largest entry of the random matrices.

    Raises:
        UserError: a value is out of its range, or an augmentation is unknown.
    """

    def __init__(
        self,
        *,
        frames: int = 64,
        crop_ratio: Sequence[float] = (0.1, 1.0),
        min_frames: int = 64,
        spatial: Sequence[str] = SPATIAL,
        jitter_joints: int = 15,
        zero_p: float = 0.5,
        amplitude: float = 1.0,
        **body: str,
    ) -> None:
        super().__init__(frames=frames, crop_ratio=crop_ratio, min_frames=min_frames, **body)
        joints = len(load_layout(self.layout).joints)
        if unknown := [name for name in spatial if name not in SPATIAL]:
            raise UserError(f"view.spatial: found {unknown[0]!r}, expected a list out of {', '.join(SPATIAL)}")
        if not 0 <= jitter_joints <= joints:
            raise UserError(f"view.jitter_joints: found {jitter_joints}, expected 0 to {joints}")
        if not 0 <= zero_p <= 1:
            raise UserError(f"view.zero_p: found {zero_p}, expected a probability")
        self.spatial, self.joints, self.jitter_joints = tuple(spatial), joints, jitter_joints
        self.zero_p, self.amplitude = zero_p, amplitude

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return (N, 3, T', V, M); windows are drawn before augmentations."""
        x = self.crop(batch, generator)
        x = torch.einsum("nvij,njtvm->nitvm", send(self.maps(len(x), generator).to(x.dtype), x.device), x)
        return self.to_stream(x)

    def maps(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Draw linear maps (K, V, 3, 3) float64 for column vectors, as many numbers whatever the options."""
        chosen, vanish = uniform((2, count), generator, clips=1)
        order = uniform((count, self.joints), generator).argsort(1)
        flat = self.coordinates == "xyc"
        shear = shear_matrix(draw_shear(count, self.amplitude, generator, flat=flat))
        jitter = (2 * uniform((count, 3, 3), generator) - 1) * self.amplitude
        if flat:
            jitter[:, 2], jitter[:, :, 2], jitter[:, 2, 2] = 0, 0, 1
        jitter *= (vanish >= self.zero_p)[:, None, None]

        eye = torch.eye(3, dtype=jitter.dtype).expand(count, self.joints, 3, 3)
        if not self.spatial:
            return eye
        hit = torch.zeros(count, self.joints, dtype=torch.bool).scatter_(1, order[:, : self.jitter_joints], True)
        jittered = torch.where(hit[..., None, None], jitter.mT[:, None], eye)  # drawn for row vectors
        is_shear = torch.tensor([name == "shear" for name in self.spatial])[(chosen * len(self.spatial)).long()]
        return torch.where(is_shear[:, None, None, None], shear[:, None], jittered)
