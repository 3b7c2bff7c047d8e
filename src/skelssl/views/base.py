"""What all views share: the skeleton layout, the meaning of the channels, and the stream that is taken last."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.views.streams import check_coordinates, check_stream, to_stream


class View(nn.Module):
    """A view of one clip per sample (``clips`` = K = 1); subclasses implement ``forward(batch, generator)``.

    Args:
        layout: name of the skeleton layout.
        coordinates: xyz, or xyc for clips in the plane of an image.
        stream: joint, motion or bone.

    Raises:
        UserError: coordinates or stream are unknown.
    """

    clips = 1

    def __init__(self, *, layout: str = "ntu25", coordinates: str = "xyz", stream: str = "joint") -> None:
        super().__init__()
        self.layout, self.stream, self.coordinates = layout, check_stream(stream), check_coordinates(coordinates)

    def to_stream(self, x: Tensor) -> Tensor:
        """Return joint positions (N, 3, T', V, M) in the stream of this view, same shape."""
        return to_stream(x, self.stream, self.layout, self.coordinates)


def check_count(key: str, value: int) -> int:
    """Return ``value``; raise UserError, which names ``view.<key>``, unless it is a positive whole number."""
    if not isinstance(value, int) or value < 1:
        raise UserError(f"view.{key}: found {value!r}, expected a whole number of at least 1")
    return value


def check_range(key: str, ratio: Sequence[float]) -> tuple[float, float]:
    """Return the two ratios; raise UserError, which names ``view.<key>``, unless 0 < low <= high <= 1."""
    if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1] <= 1:
        raise UserError(f"view.{key}: found {list(ratio)}, expected two ascending ratios above 0, up to 1")
    return ratio[0], ratio[1]
