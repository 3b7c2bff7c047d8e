"""Views of the masked transformers MAMP and HA-CM: a window resized to T' frames, one rotation, then the stream.

Mao et al., ICCV 2023 (arXiv 2308.07092), reference feeder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.runtime.devices import send
from skelssl.views import spatial
from skelssl.views.streams import check_coordinates, check_stream, to_stream
from skelssl.views.temporal import centre_window, crop_resize, random_window


def rotate(x: Tensor, limit: float, generator: torch.Generator | None = None, *, coordinates: str = "xyz") -> Tensor:
    """Clips (N, 3, T, V, M) turned by R_z R_y R_x, three angles U(-limit, limit) radian for each clip as a whole.

    With ``xyc`` by R_z alone, in the plane of the image.
    """
    angles = (2 * spatial.uniform((len(x), 3), generator) - 1) * limit
    angles = angles * torch.tensor([0, 0, 1]) if coordinates == "xyc" else angles
    return spatial.transform(x, send(spatial.rotation_matrix(angles).to(x.dtype), x.device))


class CentreView(nn.Module):
    """The middle ``ratio`` of each clip, resized to ``frames``; nothing random.

    Args:
        layout: name of the body.
        coordinates: xyz, or xyc for clips in the plane of an image.
        stream: joint, motion or bone.
        frames: T'.
        ratio: share of the valid frames, in (0, 1].
    """

    clips = 1

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        stream: str = "joint",
        frames: int = 120,
        ratio: float = 0.95,
    ) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise UserError(f"view.ratio: found {ratio}, expected a share above 0 and up to 1")
        self.layout, self.stream, self.frames, self.ratio = layout, check_stream(stream), check_frames(frames), ratio
        self.coordinates = check_coordinates(coordinates)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Batch -> (N, 3, T', V, M)."""
        x = crop_resize(batch.x, *centre_window(batch.frames, self.ratio), self.frames)
        return to_stream(x, self.stream, self.layout, self.coordinates)


class CropView(nn.Module):
    """A random window of each clip, resized to ``frames`` and turned; the stream is taken last.

    Args:
        layout: name of the body.
        coordinates: xyz, or xyc for clips in the plane of an image.
        stream: joint, motion or bone.
        frames: T'.
        ratio: smallest and largest share of the valid frames, drawn uniformly.
        minimum: frames that a window has at least; a shorter clip is taken whole.
        rotation: largest angle about each axis in radian.
    """

    clips = 1

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        stream: str = "joint",
        frames: int = 120,
        ratio: tuple[float, float] = (0.5, 1.0),
        minimum: int = 64,
        rotation: float = 0.3,
    ) -> None:
        super().__init__()
        low, high = ratio
        if not 0 < low <= high <= 1:
            raise UserError(f"view.ratio: found {list(ratio)}, expected two shares above 0, ascending, up to 1")
        if minimum < 1:
            raise UserError(f"view.minimum: found {minimum}, expected 1 or more")
        self.layout, self.stream, self.frames = layout, check_stream(stream), check_frames(frames)
        self.coordinates = check_coordinates(coordinates)
        self.ratio, self.minimum, self.rotation = (low, high), minimum, rotation

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Batch -> (N, 3, T', V, M); windows are drawn before angles, each for all clips at once."""
        window = random_window(batch.frames, self.ratio, self.minimum, generator)
        x = rotate(crop_resize(batch.x, *window, self.frames), self.rotation, generator, coordinates=self.coordinates)
        return to_stream(x, self.stream, self.layout, self.coordinates)


def check_frames(frames: int) -> int:
    """Returns ``frames``; raises UserError unless it is a positive whole number."""
    if not isinstance(frames, int) or frames < 1:
        raise UserError(f"view.frames: found {frames!r}, expected a whole number of at least 1")
    return frames
