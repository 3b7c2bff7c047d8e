"""MAMP: masked motion predictors are strong 3D action representation learners.

Mao et al., ICCV 2023, arXiv 2308.07092. A transformer sees a tenth of the tokens of a clip, chosen so that what moves
is masked more often; a decoder predicts the frame-to-frame motion of the masked ones. With ``loss.target=coordinates``
and random masking it is the MAE baseline of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skelssl.data.batch import Batch
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.masked_prediction import MaskedPrediction, channel_std
from skelssl.maskers.motion_gumbel import MotionGumbelMask, segment_motion
from skelssl.maskers.tokens import TokenMask, smallest
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip, hidden_tokens, resized
from skelssl.optim import decay_groups


class MAMP(Method):
    """The method as published; ``masking`` is any masker of tokens on the encoder's grid."""

    encoder: Transformer

    def __init__(
        self,
        *,
        view: Mapping[str, nn.Module],
        encoder: Transformer,
        masking: Callable[..., TokenMask],
        decoder: Callable[..., Decoder],
        loss: MaskedPrediction,
        optim: Mapping[str, Any],
        seed: int,
    ) -> None:
        super().__init__(view=view, optim=optim, seed=seed)
        self.encoder, self.masking, self.loss = encoder, masking, loss
        self.decoder = decoder(grid=encoder.grid, width_in=encoder.dim, out=encoder.patch * loss.channels)
        self.decoder.check_masking(masking)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        own = self.generator("clips")  # per-clip and per-person draws
        x = self.view(batch, own)
        mask = self.masking(x, own)

        tokens = self.encoder.encode(self.encoder.embed(x, mask.visible))
        prediction = self.decoder(tokens, mask.visible, mask.hidden)
        target = self.loss.targets(x, self.encoder.patch, mask.hidden)
        loss: Tensor = self.loss(prediction, target)
        self.log_losses(batch, loss=loss, target_std=channel_std(target), prediction_std=channel_std(prediction))
        return loss

    def visualize(self, x: Tensor, generator: torch.Generator) -> list[MaskedClip]:
        clip = resized(x, self.encoder.frames)
        mask = self.masking(clip, generator)
        shown = [hidden_tokens("masked in training", clip, mask, "tokens")]
        if isinstance(self.masking, MotionGumbelMask):
            at_random = smallest(torch.rand(mask.mask.shape, generator=generator), mask.visible.shape[1])
            shown += [
                hidden_tokens("as many, masked at random", clip, at_random),
                MaskedClip(
                    "motion of each token",
                    clip=clip,
                    tokens=segment_motion(clip, self.encoder.patch, self.masking.coordinates),
                ),
            ]
        return shown

    def compiled(self) -> list[tuple[nn.Module, str]]:
        return [(self.encoder, "embed"), (self.encoder, "encode"), (self.decoder, "forward")]

    def parameter_groups(self) -> list[dict[str, Any]]:
        return decay_groups(self.named_parameters())
