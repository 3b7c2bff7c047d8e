"""Joint, motion and bone: what of a clip the encoder sees."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from skelssl.devices import table
from skelssl.errors import UserError
from skelssl.skeleton import layout as body_layout

STREAMS = ("joint", "motion", "bone")


def check_stream(stream: str) -> str:
    """Returns ``stream``; raises UserError for one that is not known."""
    if stream not in STREAMS:
        raise UserError(f"stream: found {stream!r}, expected one of {', '.join(STREAMS)}")
    return stream


def to_stream(x: Tensor, stream: str, layout: str) -> Tensor:
    """Clips (N, C, T, V, M) of joint positions -> the same shape in ``stream``, same unit.

    joint: as it is. motion: x[t+1] - x[t], zero in the last frame. bone: joint minus its parent in the layout, zero at
    the centre.
    """
    check_stream(stream)
    if stream == "motion":
        return pad(x.diff(dim=2), (0, 0, 0, 0, 0, 1))
    if stream == "bone":
        return x - x.index_select(3, table(tuple(body_layout(layout).parents), x.device))
    return x
