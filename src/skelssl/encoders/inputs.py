"""Checks of an encoder's input, and ``ignore`` for encoders that cannot drop a joint."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.runtime.devices import send

CHANNELS, PERSONS = 3, 2


def check_clips(
    x: Tensor, joints: int, ignore: Collection[int], frames: int | None = None, channels: int = CHANNELS
) -> None:
    """Raise UserError unless ``x`` is (N, C, T, V, 2), T >= 1 or T = ``frames``, and ``ignore`` leaves a joint."""
    found, expected = tuple(x.shape), (channels, frames or "T", joints, PERSONS)
    length = found[2] if len(found) == 5 else 0
    if length == 0 or found[1:] != (channels, frames or length, joints, PERSONS):
        raise UserError(f"encoder input: found shape {found}, expected (N, {', '.join(map(str, expected))})")
    if any(not 0 <= joint < joints for joint in ignore) or len(set(ignore)) == joints:
        raise UserError(
            f"encoder ignore: found {sorted(set(ignore))}, expected fewer than {joints} joints of 0 to {joints - 1}"
        )


def zero_joints(x: Tensor, ignore: Collection[int]) -> Tensor:
    """Return a copy of clips (N, C, T, V, M) with the joints ``ignore`` at zero, or ``x`` itself if there are none."""
    return x.index_fill(3, send(torch.tensor(sorted(set(ignore))), x.device), 0) if ignore else x
