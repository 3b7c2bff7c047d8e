"""Motion-attention temporal masking: fast frames are dropped more often.

Zhou et al., PSTL, AAAI 2023 (arXiv 2302.09018).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from skelssl.core.errors import UserError
from skelssl.runtime.devices import send
from skelssl.views.streams import check_coordinates, positions, steps
from skelssl.views.temporal import take_frames


@dataclass(frozen=True, kw_only=True)
class MotionAttentionMask:
    """Drops the ``k_motion`` fastest frames of each clip, then ``k_random`` of the rest; clips become shorter.

    The first stage depends on the clip only. The second draws one set of positions for the whole batch. A stage with 0
    frames is skipped.

    Args:
        coordinates: xyz, or xyc, with which the speed is that of x and y.
        k_motion: frames to drop by speed.
        k_random: frames to drop at random.

    Raises:
        UserError: a value is out of its range.
    """

    coordinates: str = "xyz"
    k_motion: int = 10
    k_random: int = 10

    def __post_init__(self) -> None:
        check_coordinates(self.coordinates)
        for key in ("k_motion", "k_random"):
            if (found := getattr(self, key)) < 0:
                raise UserError(f"matm.{key}: found {found}, expected 0 or more")

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mask clips (N, C, T, V, M) of any stream -> (N, C, T - k_motion - k_random, V, M); raises as `kept`."""
        return take_frames(x, self.kept(x, generator))

    def kept(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the retained frames (N, T - k_motion - k_random), ascending, on the device of ``x``.

        Raises:
            UserError: no frame would remain.
        """
        frames = x.shape[2]
        if frames <= self.k_motion + self.k_random:
            raise UserError(
                f"matm: found clips of {frames} frames, expected more than k_motion + k_random = "
                f"{self.k_motion + self.k_random}"
            )
        speed = positions(steps(x, self.coordinates), self.coordinates).square().mean((1, 3, 4))  # (N, T-1)
        # The last frame has no successor. A negative speed retains it even in a motionless clip, and the stable sort
        # breaks ties in the same way on every device.
        speed = pad(speed, (0, 1), value=-1.0)
        slow = speed.argsort(dim=1, stable=True)[:, : frames - self.k_motion].sort(dim=1).values
        places = torch.randperm(frames - self.k_motion, generator=generator)[: frames - self.k_motion - self.k_random]
        return slow[:, send(places.sort().values, x.device)]
