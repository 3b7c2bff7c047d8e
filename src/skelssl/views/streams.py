"""Streams of a clip (joint, motion, bone) and the meaning of its three channels.

With ``coordinates: xyz`` the channels are x, y and z. With ``xyc`` a clip is in the image plane, and the third channel
is the confidence of a joint, 0 to 1, which is never added to, rotated or used as a coordinate.
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
    """Return ``stream``; raise UserError unless it is joint, motion or bone."""
    if stream not in STREAMS:
        raise UserError(f"stream: found {stream!r}, expected one of {', '.join(STREAMS)}")
    return stream


def check_coordinates(coordinates: str) -> str:
    """Return ``coordinates``; raise UserError unless it is xyz or xyc."""
    if coordinates not in COORDINATES:
        raise UserError(f"dataset.coordinates: found {coordinates!r}, expected one of {', '.join(COORDINATES)}")
    return coordinates


def positions(x: Tensor, coordinates: str) -> Tensor:
    """Return the coordinates of clips (N, 3, ...) without confidence: (N, 3, ...) for xyz, (N, 2, ...) for xyc."""
    return x[:, :2] if coordinates == "xyc" else x


def difference(x: Tensor, other: Tensor, coordinates: str) -> Tensor:
    """Return ``x - other`` of clips (N, 3, ...).

    With ``xyc`` its confidence is the lower of both, and it is zero where either joint was not seen.
    """
    if coordinates == "xyz":
        return x - other
    sure = torch.minimum(x[:, 2:], other[:, 2:])
    return torch.cat([(x - other)[:, :2] * (sure > 0), sure], 1)


def steps(x: Tensor, coordinates: str, stride: int = 1) -> Tensor:
    """Return x[t + stride] - x[t] of clips (N, 3, T, V, M): (N, 3, T - stride, V, M)."""
    return difference(x[:, :, stride:], x[:, :, :-stride], coordinates)


def to_stream(x: Tensor, stream: str, layout: str, coordinates: str = "xyz") -> Tensor:
    """Convert clips (N, 3, T, V, M) of joint positions to ``stream``, with the same shape and unit.

    joint: unchanged. motion: x[t+1] - x[t], zero in the last frame. bone: joint minus its parent in the layout, zero at
    the centre. Both use `difference`, which handles ``xyc``. Raises UserError for an unknown stream.
    """
    check_stream(stream)
    if stream == "motion":
        return pad(steps(x, coordinates), (0, 0, 0, 0, 0, 1))
    if stream == "bone":
        parents = constant(tuple(load_layout(layout).parents), x.device)
        return difference(x, x.index_select(3, parents), coordinates)
    return x
