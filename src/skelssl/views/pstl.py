"""Views of PSTL: stream, mirrored crop, shear, rotation and flip for training, and the plain clip for probes.

Zhou et al., AAAI 2023 (arXiv 2302.09018), after AimCLR (Guo et al., AAAI 2022, arXiv 2112.03590).
"""

from __future__ import annotations

import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.runtime.devices import send
from skelssl.skeleton.layout import load_layout
from skelssl.views import spatial
from skelssl.views.base import View
from skelssl.views.temporal import mirrored_crop


class PlainView(View):
    """The stream of the whole clip, without randomness: PSTL's probe and test view."""

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return (N, C, T, V, M); ``generator`` is not used."""
        return self.to_stream(batch.x)


class PSTLView(View):
    """The stream of the clip after crop, shear, rotation and flip, each always applied, the flip with ``flip_p``.

    Clips must have one length T, as the recipe leaves them. The stream comes first, so a mirrored piece of motion runs
    backwards in time without a change of sign, as in the reference.

    Args:
        crop_ratio: T // crop_ratio frames are mirrored at each end before T frames are cropped.
        shear: amplitude of the six off-diagonals.
        rot_main_deg: largest angle in degrees about the main axis, drawn at random; with xyc that is z, the only axis.
        rot_other_deg: largest angle in degrees about the two others.
        flip_p: probability that left and right joints are swapped.
        granularity: ``batch`` draws one set of numbers for the whole batch (the reference), ``sample`` one per clip.
        mirror_x: also negate x where joints are flipped; the reference does not.
        body: layout, coordinates and stream, as in `View`.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        *,
        crop_ratio: int = 6,
        shear: float = 1.0,
        rot_main_deg: float = 30.0,
        rot_other_deg: float = 1.0,
        flip_p: float = 0.5,
        granularity: str = "batch",
        mirror_x: bool = False,
        **body: str,
    ) -> None:
        super().__init__(**body)
        if granularity not in ("batch", "sample"):
            raise UserError(f"view.granularity: found {granularity!r}, expected batch or sample")
        if crop_ratio < 1:
            raise UserError(f"view.crop_ratio: found {crop_ratio}, expected 1 or more")
        self.crop_ratio, self.shear, self.flip_p = crop_ratio, shear, flip_p
        self.rot_main_deg, self.rot_other_deg = rot_main_deg, rot_other_deg
        self.per_sample, self.mirror_x = granularity == "sample", mirror_x

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return (N, C, T, V, M); draws are made in the order of the operations."""
        x = self.to_stream(batch.x)
        time, joints, matrix = self._draw(len(x) if self.per_sample else 1, x.shape[2], generator)
        return _resample(x, *(send(draw, x.device) for draw in (time, joints, matrix.to(x.dtype))))

    def _draw(self, count: int, frames: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Draw K sets of frames (K, T), joints (K, V) and matrices (K, 3, 3)."""
        padding = frames // self.crop_ratio
        start = spatial.integers(2 * padding + 1, (count,), generator)
        flat = self.coordinates == "xyc"
        matrix = spatial.shear_matrix(spatial.draw_shear(count, self.shear, generator, flat=flat))
        angles = spatial.draw_angles(count, self.rot_main_deg, self.rot_other_deg, generator, flat=flat)
        matrix = spatial.rotation_matrix(angles) @ matrix
        flip = spatial.uniform((count, 1), generator) < self.flip_p
        order = torch.from_numpy(load_layout(self.layout).flip)
        joints = torch.where(flip, order, torch.arange(len(order)))
        if self.mirror_x:
            matrix[:, 0] *= torch.where(flip, -1.0, 1.0)
        return mirrored_crop(start, frames, padding), joints, matrix


def _resample(x: Tensor, time: Tensor, joints: Tensor, matrix: Tensor) -> Tensor:
    """Take x (N, C, T, V, M) at frames (K, T') and joints (K, V') and apply the matrices (K, C, C); K is 1 or N.

    One gather of points and one product, whatever was drawn.
    """
    rows = x.permute(0, 2, 4, 3, 1)  # (N, T, M, V, C), as the store has it
    n, t, m, v, c = rows.shape
    frame = torch.arange(n, device=x.device)[:, None] * t + time  # (N, T')
    person = frame[:, :, None] * m + torch.arange(m, device=x.device)  # (N, T', M)
    place = person[..., None] * v + joints[:, None, None]  # (N, T', M, V')
    picked = rows.reshape(-1, c).index_select(0, place.flatten()).view(n, -1, c)
    return torch.matmul(picked, matrix.mT).view(*place.shape, c).permute(0, 4, 1, 3, 2)
