"""Views that crop a window of each clip, resize it to T' frames and take the stream last.

They are the views of MAMP and HA-CM (Mao et al., ICCV 2023, arXiv 2308.07092, reference feeder). Skeleton-contrast
builds on them with its own defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.views.base import View, check_count, check_range
from skelssl.views.spatial import rotate
from skelssl.views.temporal import centre_window, crop_resize, random_window


class CentreView(View):
    """The middle ``ratio`` of each clip, resized to ``frames``, without randomness: the test view.

    Args:
        frames: T'.
        ratio: fraction of the valid frames, in (0, 1].
        body: layout, coordinates and stream, as in `View`.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(self, *, frames: int = 120, ratio: float = 0.95, **body: str) -> None:
        super().__init__(**body)
        if not 0 < ratio <= 1:
            raise UserError(f"view.ratio: found {ratio}, expected a ratio above 0 and up to 1")
        self.frames, self.ratio = check_count("frames", frames), ratio

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return (N, 3, T', V, M); ``generator`` is not used."""
        return self.to_stream(crop_resize(batch.x, *centre_window(batch.frames, self.ratio), self.frames))


class CropView(View):
    """A random window of each clip, resized to ``frames`` and rotated.

    Args:
        frames: T'.
        ratio: smallest and largest fraction of the valid frames, drawn uniformly.
        minimum: smallest number of frames of a window; a shorter clip is used as a whole.
        rotation: largest angle about each axis in radians; null draws no angles.
        body: layout, coordinates and stream, as in `View`.

    Raises:
        UserError: a value is out of its range.
    """

    keys: ClassVar[tuple[str, str]] = ("ratio", "minimum")  # config names of the window's two settings

    def __init__(
        self,
        *,
        frames: int = 120,
        ratio: Sequence[float] = (0.5, 1.0),
        minimum: int = 64,
        rotation: float | None = 0.3,
        **body: str,
    ) -> None:
        super().__init__(**body)
        self.frames, self.rotation = check_count("frames", frames), rotation
        self.ratio, self.minimum = check_range(self.keys[0], ratio), check_count(self.keys[1], minimum)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return (N, 3, T', V, M); windows are drawn before angles, each for all clips at once."""
        x = self.crop(batch, generator)
        if self.rotation is not None:
            x = rotate(x, self.rotation, generator, coordinates=self.coordinates)
        return self.to_stream(x)

    def crop(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Return the joint positions (N, 3, T', V, M) of the windows."""
        window = random_window(batch.frames, self.ratio, self.minimum, generator)
        return crop_resize(batch.x, *window, self.frames)
