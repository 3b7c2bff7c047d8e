"""Skeleton-contrast's views (Thoker et al., ACM MM 2021): a window of 64 frames, then shear or joint jittering."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.runtime.devices import send
from skelssl.skeleton.layout import load_layout
from skelssl.views.spatial import draw_shear, shear_matrix, uniform
from skelssl.views.streams import check_coordinates, check_stream, to_stream
from skelssl.views.temporal import centre_window, crop_resize, random_window

SPATIAL = ("shear", "jitter")


class CentreView(nn.Module):
    """The middle of each clip resized to ``frames``, nothing random: the view of tests and of retrieval.

    Args:
        layout: name of the body.
        coordinates: xyz, or xyc for clips in the plane of an image.
        stream: joint (the paper), motion or bone.
        frames: T'.
        ratio: share of the clip that stays.
    """

    clips = 1

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        stream: str = "joint",
        frames: int = 64,
        ratio: float = 0.95,
    ) -> None:
        super().__init__()
        if frames < 1:
            raise UserError(f"view.frames: found {frames}, expected 1 or more")
        if not 0 < ratio <= 1:
            raise UserError(f"view.ratio: found {ratio}, expected a share above 0 and at most 1")
        self.layout, self.stream, self.frames, self.ratio = layout, check_stream(stream), frames, ratio
        self.coordinates = check_coordinates(coordinates)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Batch -> (N, 3, T', V, M)."""
        x = crop_resize(batch.x, *centre_window(batch.frames, self.ratio), self.frames)
        return to_stream(x, self.stream, self.layout, self.coordinates)


class CropView(nn.Module):
    """A random window of each clip resized to ``frames``: the view that trains a probe.

    Args:
        layout: name of the body.
        coordinates: xyz, or xyc for clips in the plane of an image.
        stream: joint (the paper), motion or bone, taken last.
        frames: T'.
        crop_ratio: the window's share of a clip is uniform between these two.
        min_frames: a window is never shorter, unless the whole clip is.
    """

    clips = 1

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        stream: str = "joint",
        frames: int = 64,
        crop_ratio: Sequence[float] = (0.5, 1.0),
        min_frames: int = 64,
    ) -> None:
        super().__init__()
        for key, value in (("frames", frames), ("min_frames", min_frames)):
            if value < 1:
                raise UserError(f"view.{key}: found {value}, expected 1 or more")
        if len(crop_ratio) != 2 or not 0 < crop_ratio[0] <= crop_ratio[1] <= 1:
            raise UserError(f"view.crop_ratio: found {list(crop_ratio)}, expected two ascending shares in (0, 1]")
        self.layout, self.stream, self.coordinates = layout, check_stream(stream), check_coordinates(coordinates)
        self.frames, self.min_frames = frames, min_frames
        self.crop_ratio = (crop_ratio[0], crop_ratio[1])

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Batch -> (N, 3, T', V, M)."""
        return to_stream(self.crop(batch, generator), self.stream, self.layout, self.coordinates)

    def crop(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Batch -> joint positions (N, 3, T', V, M) of the windows."""
        window = random_window(batch.frames, self.crop_ratio, self.min_frames, generator)
        return crop_resize(batch.x, *window, self.frames)


class ContrastView(CropView):
    """A random window, then one spatial augmentation of ``spatial``, each equally likely: the view of pre-training.

    shear: one matrix with a unit diagonal and off-diagonals U(-amplitude, amplitude) for the whole clip. jitter:
    ``jitter_joints`` joints, the same in all frames and persons, are set to zero with probability ``zero_p``, else
    multiplied by one 3 x 3 matrix of entries U(-amplitude, amplitude). All of it is one linear map per joint. With
    ``xyc`` shear and matrix are those of x and y, and only a joint that vanishes loses its confidence.

    Args:
        layout, coordinates, stream, frames, crop_ratio, min_frames: as in `CropView`.
        spatial: augmentations to choose from; an empty list leaves the positions as they are.
        jitter_joints: joints that jittering changes.
        zero_p: share of jittered clips whose joints vanish.
        amplitude: largest entry of the random matrices.
    """

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        stream: str = "joint",
        frames: int = 64,
        crop_ratio: Sequence[float] = (0.1, 1.0),
        min_frames: int = 64,
        spatial: Sequence[str] = SPATIAL,
        jitter_joints: int = 15,
        zero_p: float = 0.5,
        amplitude: float = 1.0,
    ) -> None:
        super().__init__(
            layout=layout,
            coordinates=coordinates,
            stream=stream,
            frames=frames,
            crop_ratio=crop_ratio,
            min_frames=min_frames,
        )
        joints = len(load_layout(layout).joints)
        if unknown := [name for name in spatial if name not in SPATIAL]:
            raise UserError(f"view.spatial: found {unknown[0]!r}, expected a list out of {', '.join(SPATIAL)}")
        if not 0 <= jitter_joints <= joints:
            raise UserError(f"view.jitter_joints: found {jitter_joints}, expected 0 to {joints}")
        if not 0 <= zero_p <= 1:
            raise UserError(f"view.zero_p: found {zero_p}, expected a probability")
        self.spatial, self.joints, self.jitter_joints = tuple(spatial), joints, jitter_joints
        self.zero_p, self.amplitude = zero_p, amplitude

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Batch -> (N, 3, T', V, M)."""
        x = self.crop(batch, generator)
        x = torch.einsum("nvij,njtvm->nitvm", send(self.maps(len(x), generator).to(x.dtype), x.device), x)
        return to_stream(x, self.stream, self.layout, self.coordinates)

    def maps(self, count: int, generator: torch.Generator | None) -> Tensor:
        """One linear map per clip and joint, (K, V, 3, 3) float64, for column vectors; as many draws for any option."""
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
