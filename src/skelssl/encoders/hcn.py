"""The image encoder of skeleton-contrast: HCN up to its last pooling.

Li, Zhong, Xie, Pu, IJCAI 2018 (arXiv 1804.06055). A clip is an image of frames by joints with the coordinates as
channels. After the convolution over frames the joints become the channels, so that every later filter covers the whole
body.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from skelssl.core.errors import UserError
from skelssl.encoders.inputs import CHANNELS, check_clips, zero_joints
from skelssl.skeleton.layout import load_layout
from skelssl.views.streams import check_coordinates, steps


class HCNBranch(nn.Module):
    """Position or motion branch of one person: (B, 3, T, V) -> (B, h, ⌊T/4⌋, ⌊T/4⌋).

    The second convolution has as many filters as the clip has frames, as in the released model, so that the image is
    square.
    """

    def __init__(self, joints: int, hidden: int, frames: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, frames, (3, 1), padding=(1, 0))
        self.conv3 = nn.Conv2d(joints, hidden // 2, 3, padding=1)
        self.conv4 = nn.Conv2d(hidden // 2, hidden, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        points = self.conv2(self.conv1(x).relu_())
        image = rearrange(points, "b s t v -> b v t s").contiguous()
        return max_pool2d(self.dropout(self.conv4(max_pool2d(self.conv3(image), 2))), 2)


class HCN(nn.Module):
    """Position and motion branches, two shared convolutions, and the maximum over both persons, flattened.

    D = 4·hidden·⌊frames/16⌋², 4096 at the published size, which has 519,424 parameters. Weights are initialised
    Xavier-uniform, biases with zero.

    Args:
        layout: name of the skeleton layout.
        coordinates: xyz (m), or xyc: x and y in the image plane and the confidence of the joint.
        hidden: width h of the point-wise layer, even.
        frames: T of every clip, at least 16.
        dropout: probability that a channel is dropped after convolutions 4, 5 and 6.

    Raises:
        UserError: ``hidden`` is odd or below 2, ``frames`` is below 16, or ``coordinates`` is unknown.
    """

    ignores: ClassVar[str] = "zeroes"

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        hidden: int = 64,
        frames: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if hidden < 2 or hidden % 2:
            raise UserError(f"encoder.hidden: found {hidden}, expected a positive even number")
        if frames < 16:
            raise UserError(f"encoder.frames: found {frames}, expected at least 16")
        self.joints, self.frames = len(load_layout(layout).joints), frames
        self.coordinates = check_coordinates(coordinates)
        self.dim = 4 * hidden * (frames // 16) ** 2
        self.position = HCNBranch(self.joints, hidden, frames, dropout)
        self.motion = HCNBranch(self.joints, hidden, frames, dropout)
        self.conv5 = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1)
        self.conv6 = nn.Conv2d(2 * hidden, 4 * hidden, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)
        for name, parameter in self.named_parameters():
            (nn.init.xavier_uniform_ if name.endswith("weight") else nn.init.zeros_)(parameter)

    def forward(self, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
        """Encode clips (N, 3, T=frames, V, M=2) -> features (N, D).

        Args:
            x: complete clips; an absent person is all zeros and takes part in the maximum like any other.
            ignore: joints to set to zero, for all clips of the batch; the image cannot drop them.

        Raises:
            UserError: the shape is wrong, a joint is unknown, or no joint is left.
        """
        check_clips(x, self.joints, ignore, self.frames)
        x = rearrange(zero_joints(x, ignore).to(self.conv5.weight.dtype), "n c t v m -> (n m) c t v")
        y = torch.cat([self.position(x), self.motion(motion(x, self.coordinates))], 1)
        for conv in (self.conv5, self.conv6):
            y = max_pool2d(self.dropout(conv(y).relu_()), 2)
        first, second = rearrange(y, "(n m) c t s -> m n (c t s)", m=2)
        return torch.maximum(first, second)


def motion(x: Tensor, coordinates: str = "xyz") -> Tensor:
    """Return the differences of neighbouring frames of (B, 3, T, V), resized to T frames with half-pixel centres."""
    return interpolate(steps(x, coordinates), x.shape[2:], mode="bilinear", align_corners=False)


def recognises(names: Collection[str]) -> bool:
    """Return whether the parameter names of a released encoder are those of the image encoder."""
    return "conv1m.0.weight" in names


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the parameters of a released encoder to ours, drop its head ``fc``, and keep unknown names unchanged."""

    def ours(name: re.Match[str]) -> str:
        branch = ("motion." if name[2] else "position.") if int(name[1]) < 5 else ""
        return f"{branch}conv{name[1]}."

    pattern = re.compile(r"^conv(\d)(m?)(?:\.0)?\.")
    return {pattern.sub(ours, name): value for name, value in state.items() if not name.startswith("fc.")}
