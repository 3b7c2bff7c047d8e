"""HA-CM: spatial hierarchy and temporal attention guided cross masking for self-supervised action recognition.

Yin and Cao, 2024, arXiv 2409.17951. Tokens live in a Poincaré ball. Every other segment keeps those low in the
body's hierarchy, the segments between keep those that draw temporal attention. A transformer sees both groups
at once; a decoder predicts the motion of what is masked, and each group must recognise its clip among the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.core.errors import UserError, check_number
from skelssl.data.batch import Batch
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.cross_contrast import CrossContrast
from skelssl.losses.masked_prediction import MaskedPrediction, channel_std
from skelssl.maskers.hyperbolic import CrossMasker
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip, above_least, resized
from skelssl.optim import decay_groups
from skelssl.views.streams import to_stream


class CrossMaskingLoss(nn.Module):
    """Reconstruction + weight · contrast as in the public code; with ``alpha`` the paper's α contrast + (1 - α)
    reconstruction.
    """

    def __init__(
        self, *, prediction: MaskedPrediction, contrast: CrossContrast, weight: float = 1.0, alpha: float | None = None
    ) -> None:
        super().__init__()
        check_number("loss.weight", weight, "a number of at least 0", lambda v: v >= 0)
        if alpha is not None:
            check_number("loss.alpha", alpha, "null or a ratio from 0 to 1", lambda v: 0 <= v <= 1)
            if weight != 1:
                raise UserError(f"loss.weight: found {weight} beside loss.alpha, expected 1 (alpha sets both weights)")
        self.prediction, self.contrast = prediction, contrast
        self.weights = (1.0, weight) if alpha is None else (1 - alpha, alpha)

    def forward(self, reconstruction: Tensor, contrast: Tensor) -> Tensor:
        """Both () -> ()."""
        return self.weights[0] * reconstruction + self.weights[1] * contrast


class HACM(Method):
    """The method in the corrected token order, or, with ``masking.layout=reference``, in that of the public code."""

    encoder: Transformer

    def __init__(
        self,
        *,
        view: Mapping[str, nn.Module],
        encoder: Transformer,
        masking: Callable[..., CrossMasker],
        decoder: Callable[..., Decoder],
        loss: CrossMaskingLoss,
        optim: Mapping[str, Any],
        seed: int,
    ) -> None:
        super().__init__(view=view, optim=optim, seed=seed)
        _ = encoder.body.trunk  # raises for a layout without one, before a run has a folder
        self.encoder, self.loss = encoder, loss
        self.decoder = decoder(grid=encoder.grid, width_in=encoder.dim, out=encoder.patch * loss.prediction.channels)
        self.masking = masking(grid=encoder.grid, dim=encoder.dim)
        self.decoder.check_masking(self.masking)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        own = self.generator("clips")  # per-clip and per-person draws
        x = self.view(batch, own)
        mask = self.masking(self.encoder, x, own)

        tokens = self.encoder.encode(self.encoder.embed(x, mask.visible))
        prediction = self.decoder(tokens, mask.rows, mask.hidden)
        target = self.loss.prediction.targets(self.encoder.select(x), self.encoder.patch, mask.targets)
        reconstruction = self.loss.prediction(prediction, target)
        contrast = self.loss.contrast(tokens, rearrange(x, "n c t v m -> (n m) (c t v)").any(1))
        loss: Tensor = self.loss(reconstruction, contrast)
        self.log_losses(batch, loss=loss, reconstruction=reconstruction, contrast=contrast,
                        target_std=channel_std(target), prediction_std=channel_std(prediction))  # fmt: skip
        return loss

    def visualize(self, x: Tensor, generator: torch.Generator) -> list[MaskedClip]:
        clip, view = resized(x, self.encoder.frames), cast(Any, self.view)
        seen = to_stream(clip, view.stream, view.layout, self.loss.prediction.coordinates)  # the encoder's own stream
        mask, scores = self.masking(self.encoder, seen, generator), self.masking.scores(self.encoder, seen)
        stays = mask.visible.new_zeros((len(mask.visible), self.encoder.length), dtype=torch.bool)
        stays = stays.scatter_(1, mask.visible, True)
        stays = rearrange(stays, "m (s v) -> m s v", v=self.encoder.grid[1])
        left_out = sorted(set(range(clip.shape[3])) - set(self.encoder.joints))

        def shown(title: str, values: Tensor, name: str | None = None) -> MaskedClip:
            whole = values.new_ones if values.dtype == torch.bool else values.new_zeros  # a joint left out is hidden
            tokens = whole((*values.shape[:2], clip.shape[3])).index_copy_(2, self.encoder.kept, values)
            return MaskedClip(title, clip=clip, tokens=tokens, dropped_joints=left_out, name=name)

        return [
            shown("masked in training", ~stays, "tokens"),
            shown("retained by attention: segments 1, 3, ...", ~stays[:, ::2]),
            shown("retained by hierarchy: segments 2, 4, ...", ~stays[:, 1::2]),
            shown("attention score, above the least", above_least(scores.attention)),
            shown("hierarchy score, above the least", above_least(scores.hierarchy)),
        ]

    def compiled(self) -> list[tuple[nn.Module, str]]:
        """Not the scores: their order is the mask, and one rounding less could change it."""
        return [(self.encoder, "embed"), (self.encoder, "encode"), (self.decoder, "forward")]

    def parameter_groups(self) -> list[dict[str, Any]]:
        return decay_groups(self.named_parameters())
