"""Skeleton2vec: self-supervised learning with contextualised target representations.

Xu et al., 2024, arXiv 2401.00921. A student sees a few tokens of a clip, chosen by motion-aware tube masking. A decoder
predicts, at the masked ones, what a teacher computes from the clean clip: the normalised average of its blocks. The
teacher is the student's moving average, and it is what is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from einops import repeat
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.collapse import Alarm, collapse_metrics, effective_rank, over_ranks, products
from skelssl.losses.contextual import ContextualPrediction
from skelssl.maskers.motion_tube import MotionTubeMask, tube_motion, tubes
from skelssl.maskers.tokens import TokenMask
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip, hidden_tokens, resized
from skelssl.momentum import Momentum, Schedule
from skelssl.optim import decay_groups
from skelssl.runtime.collectives import rank
from skelssl.runtime.devices import send


class Skeleton2vec(Method):
    """The method as published. The teacher is evaluated by default; the student is exported beside it.

    Args:
        masks: masks drawn of each clip; they share one teacher pass (data2vec 2.0).
    """

    def __init__(
        self,
        *,
        view: Mapping[str, nn.Module],
        encoder: Transformer,
        masking: Callable[..., TokenMask],
        decoder: Callable[..., Decoder],
        loss: ContextualPrediction,
        teacher: Schedule,
        collapse: Alarm,
        optim: Mapping[str, Any],
        seed: int,
        masks: int = 1,
    ) -> None:
        super().__init__(view=view, optim=optim, seed=seed)
        if not isinstance(masks, int) or masks < 1:
            raise UserError(f"method.masks: found {masks!r}, expected a whole number of at least 1")
        depth = len(encoder.blocks)
        if not isinstance(loss.blocks, int) or not 1 <= loss.blocks <= depth:
            raise UserError(f"method.loss.blocks: found {loss.blocks!r}, expected 1 to encoder.depth = {depth}")
        self.teacher, self.schedule, self.collapse = Momentum(encoder), teacher, collapse
        self.student = encoder
        self.student.setting = "student"  # type: ignore[assignment]  # keeps its results apart from the teacher's
        self.masking, self.masks, self.loss = masking, masks, loss
        self.decoder = decoder(grid=encoder.grid, width_in=encoder.dim, out=encoder.dim)
        self.decoder.check_masking(masking)
        self._products = torch.zeros(())  # of the epoch's persons so far
        self.train()

    @property
    def encoder(self) -> Transformer:  # type: ignore[override]
        """The teacher's network."""
        return cast(Transformer, self.teacher.module)

    def encoders(self) -> dict[str, nn.Module]:
        return {"": self.encoder, "student": self.student}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        own = self.generator("clips")  # per-clip, per-person and per-mask draws
        x = self.view(batch, own)
        masked = repeat(x, "n ... -> (n k) ...", k=self.masks)
        mask = self.masking(masked, own)

        tokens = self.student.encode(self.student.embed(masked, mask.visible))
        prediction = self.decoder(tokens, mask.visible, mask.hidden)
        targets = self.loss.targets(self.encoder, x)  # of the clean clip, whatever is masked
        target, presence = targets.at(mask.hidden), targets.presence(len(mask.hidden))
        loss: Tensor = self.loss(prediction, target, presence)
        seen = products(targets.mean, targets.present)
        self._products = seen + send(self._products, seen.device)
        self.log_losses(batch, loss=loss, **collapse_metrics(targets, prediction, target, presence))
        return loss

    def train(self, mode: bool = True) -> Skeleton2vec:
        super().train(mode)
        self.teacher.eval()
        return self

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Update the teacher after each optimiser step, before any checkpoint; several batches may share a step."""
        super().optimizer_step(*args, **options)
        per_epoch = -(-int(self.trainer.num_training_batches) // self.trainer.accumulate_grad_batches)
        self.momentum = self.schedule.momentum(self.trainer.global_step, per_epoch)
        self.teacher.update(self.student, self.momentum)

    def on_train_epoch_end(self) -> None:
        means = self.means.over_ranks(self.device)
        super().on_train_epoch_end()
        self.teacher.check_ranks()
        more = {
            "effective_rank": effective_rank(over_ranks(self._products)),
            "teacher_gap": self.teacher.gap(self.student),
        }
        self._products = torch.zeros(())
        self.log_dict({f"train/{name}": value for name, value in more.items()} | {"train/momentum": self.momentum})
        self.collapse.check({name: float(value) for name, value in (means | more).items()}, self.trainer.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["products"] = over_ranks(self._products)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._products = checkpoint["products"] if rank() == 0 else torch.zeros_like(checkpoint["products"])

    def visualize(self, x: Tensor, generator: torch.Generator) -> list[MaskedClip]:
        clip = resized(x, self.encoder.frames)
        shown = [hidden_tokens("masked in training", clip, self.masking(clip, generator), "tokens")]
        if isinstance(self.masking, MotionTubeMask):
            motion = tube_motion(clip, self.masking.patch * self.masking.tube, self.masking.coordinates)
            plain = tubes(torch.rand(motion.shape, generator=generator), self.masking.visible_joints, self.masking.tube)
            weights = motion.repeat_interleave(self.masking.tube, 1)
            shown += [
                hidden_tokens("as many, masked regardless of motion", clip, plain),
                MaskedClip("motion of each joint in each tube", clip=clip, tokens=weights),
            ]
        return shown

    def compiled(self) -> list[tuple[nn.Module, str]]:
        """The teacher block by block: all of one pass share what is compiled once, whatever number is there."""
        teacher: list[tuple[nn.Module, str]] = [(block, "forward") for block in self.encoder.blocks]
        return [(self.student, "embed"), (self.student, "encode"), (self.decoder, "forward"), *teacher]

    def parameter_groups(self) -> list[dict[str, Any]]:
        return decay_groups(self.named_parameters(), exempt=("student.positions", "decoder.positions"))
