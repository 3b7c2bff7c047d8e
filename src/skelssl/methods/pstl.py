"""PSTL: self-supervised action representations from partial spatio-temporal skeleton sequences.

Zhou, Duan, Rao, Su, Wang, AAAI 2023, arXiv 2302.09018. Three views of a clip pass one ST-GCN: an anchor, a temporal
view that lost its fastest frames (MATM), and a spatial view whose central joints are gone from the graph (CSM). A wide
projector and a Barlow Twins loss tie the anchor to each of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skelssl.data.batch import Batch
from skelssl.heads import Projector
from skelssl.losses.barlow_twins import BarlowTwins, floor
from skelssl.maskers.central_spatial import CentralSpatialMask
from skelssl.maskers.motion_attention import MotionAttentionMask
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip


class PSTL(Method):
    """The method as published; ``csm`` or ``matm`` may be null for the paper's ablations."""

    def __init__(
        self,
        *,
        view: Mapping[str, nn.Module],
        encoder: nn.Module,
        csm: CentralSpatialMask | None,
        matm: MotionAttentionMask | None,
        head: Callable[..., Projector],
        loss: BarlowTwins,
        optim: Mapping[str, Any],
        seed: int,
    ) -> None:
        super().__init__(view=view, optim=optim, seed=seed)
        self.encoder, self.csm, self.matm = encoder, csm, matm
        self.head, self.loss = head(in_dim=encoder.dim), loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # One draw per batch, the same on all ranks, in the reference's order: joints, then view by view.
        draw = self.generator("shared")
        own = self.generator("clips") if getattr(self.view, "per_sample", False) else draw
        dropped = self.csm(draw) if self.csm else []
        anchor = self.view(batch, own)
        temporal = self.view(batch, own)
        if self.matm:
            temporal = self.matm(temporal, draw)
        spatial = self.view(batch, own)

        # One pass each: concatenated views would share their batch statistics, which changes the features.
        features = self.encoder(anchor), self.encoder(temporal), self.encoder(spatial, ignore=dropped)
        z = self.head(torch.cat(features), views=3).chunk(3)
        loss_temporal, loss_spatial = self.loss(*z)
        loss: Tensor = loss_temporal + loss_spatial
        least = 2 * floor(self.clips(batch), z[0].shape[1], self.loss.lambda_)  # of a batch so small
        parts = {"temporal": loss_temporal, "spatial": loss_spatial, "floor": torch.full_like(loss, least)}
        self.log_losses(batch, loss=loss, **parts)
        return loss

    def compiled(self) -> list[tuple[nn.Module, str]]:
        """The encoder block by block: a block takes the graph as it is, whichever joints have left it."""
        blocks = getattr(self.encoder, "st_gcn_networks", [self.encoder])
        return [*((block, "forward") for block in blocks), (self.head, "forward")]

    def visualize(self, x: Tensor, generator: torch.Generator) -> list[MaskedClip]:
        shown = [MaskedClip("anchor: unmasked")]
        if self.csm:
            shown.append(MaskedClip("spatial view: CSM", dropped_joints=self.csm(generator), name="csm"))
        if self.matm:
            kept = self.matm.kept(x, generator)[0].tolist()
            shown.append(MaskedClip("temporal view: MATM", kept_frames=kept, name="matm"))
        return shown
