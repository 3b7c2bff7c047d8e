"""Joint, motion and bone: what of a clip the encoder sees; and what of its three channels are coordinates.

With ``coordinates: xyz`` they are x, y and z. With ``xyc`` a clip lies in the plane of an image, and the third channel
is how surely a joint was seen there, 0 to 1: nothing adds to it, turns it or takes it for a place.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from skelssl.core.errors import UserError
from skelssl.runtime.devices import constant
from skelssl.skeleton.layout import load_layout

STREAMS = ("joint", "motion", "bone")
COORDINATES = ("xyz", "xyc")


def check_stream(stream: str) -> str:
    """Returns ``stream``; raises UserError for one that is not known."""
    if stream not in STREAMS:
        raise UserError(f"stream: found {stream!r}, expected one of {', '.join(STREAMS)}")
    return stream


def check_coordinates(coordinates: str) -> str:
    """Returns ``coordinates``; raises UserError for what is neither xyz nor xyc."""
    if coordinates not in COORDINATES:
        raise UserError(f"dataset.coordinates: found {coordinates!r}, expected one of {', '.join(COORDINATES)}")
    return coordinates


def positions(x: Tensor, coordinates: str) -> Tensor:
    """Clips (N, 3, ...) -> their coordinates alone: x, y and z, or (N, 2, ...) x and y."""
    return x[:, :2] if coordinates == "xyc" else x


def difference(x: Tensor, other: Tensor, coordinates: str) -> Tensor:
    """``x - other``, both (N, 3, ...). With ``xyc`` it is as sure as the less sure of the two, and zero where either
    was not seen.
    """
    if coordinates == "xyz":
        return x - other
    sure = torch.minimum(x[:, 2:], other[:, 2:])
    return torch.cat([(x - other)[:, :2] * (sure > 0), sure], 1)


def steps(x: Tensor, coordinates: str, stride: int = 1) -> Tensor:
    """x[t + stride] - x[t] of clips (N, 3, T, V, M): (N, 3, T - stride, V, M)."""
    return difference(x[:, :, stride:], x[:, :, :-stride], coordinates)


def to_stream(x: Tensor, stream: str, layout: str, coordinates: str = "xyz") -> Tensor:
    """Clips (N, 3, T, V, M) of joint positions -> the same shape in ``stream``, same unit.

    joint: as it is. motion: x[t+1] - x[t], zero in the last frame. bone: joint minus its parent in the layout, zero at
    the centre. With ``xyc`` both are taken by `difference`.
    """
    check_stream(stream)
    if stream == "motion":
        return pad(steps(x, coordinates), (0, 0, 0, 0, 0, 1))
    if stream == "bone":
        parents = constant(tuple(load_layout(layout).parents), x.device)
        return difference(x, x.index_select(3, parents), coordinates)
    return x
