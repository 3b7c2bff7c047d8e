"""Write ``last.ckpt``: everything that a killed or stopped run needs to resume bit-identically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint

from skelssl.core.runs import LAST_CHECKPOINT
from skelssl.runtime.collectives import world_size
from skelssl.runtime.signals import Signals


class LastCheckpoint(Checkpoint):
    """Write ``<run>/checkpoints/last.ckpt`` after every n-th epoch, the last one, and, if asked, every n-th step.

    SIGTERM, SIGUSR1 and SIGUSR2 save after the step that they come in; then the run ends (`Stopped`), or the earlier
    handler decides. Make it in the main thread, before Lightning sets its handlers.
    """

    def __init__(self, *, every_n_epochs: int = 1, every_n_steps: int | None = None) -> None:
        super().__init__()  # Lightning calls this kind of callback last, after the epoch's metrics are logged
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.row: dict[str, float] = {}
        self.signals, self.group = Signals(), None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.signals.listen()  # in place of Lightning's handlers; it restores the earlier ones at the end
        if world_size() > 1 and dist.get_backend() != "gloo":
            self.group = dist.new_group(backend="gloo")  # for a number on the CPU, so that no GPU waits

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.callback_metrics.clear()  # else an epoch without a probe would repeat the last probe's metric

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        last = batch_idx + 1 == trainer.num_training_batches  # the end of the epoch saves, with the epoch's metrics
        number = 0 if last else self.asked()
        if number or (self.every_n_steps and trainer.global_step % self.every_n_steps == 0 and not last):
            self.save(trainer)
        if number:
            self.stop(trainer, number)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        done, number = trainer.current_epoch + 1, self.asked()
        if number or self.every_n_steps or done % self.every_n_epochs == 0 or done == trainer.max_epochs:
            self.row = {key: float(value) for key, value in trainer.callback_metrics.items()}
            self.save(trainer)
            self.row = {}
        if number and done != trainer.max_epochs:  # a run that is over needs no stopping
            self.stop(trainer, number)

    def asked(self) -> int:
        """Return the signal that any rank received, else 0, the same on all ranks, which would otherwise deadlock."""
        if world_size() == 1:
            return self.signals.number
        number = torch.tensor(self.signals.number)
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self.group)
        return int(number)

    def stop(self, trainer: L.Trainer, number: int) -> None:
        """End the run, unless the earlier handler continues it."""
        where = Path(trainer.default_root_dir) / LAST_CHECKPOINT
        self.signals.hand_on(number, f"{where} holds step {trainer.global_step}, and the same command resumes from it")

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["row"] = self.row  # a kill may come before the epoch's row is in metrics.csv

    def save(self, trainer: L.Trainer) -> None:
        """Write beside the old file, sync and rename, so that a kill leaves one complete checkpoint."""
        path = Path(trainer.default_root_dir) / LAST_CHECKPOINT
        temporary = path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
