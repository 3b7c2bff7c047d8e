"""``last.ckpt``: everything a killed run needs to go on bit for bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

LAST = Path("checkpoints") / "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Writes ``<run>/checkpoints/last.ckpt`` after every n-th epoch, the last one, and, if asked, every n-th step."""

    def __init__(self, *, every_n_epochs: int = 1, every_n_steps: int | None = None) -> None:
        super().__init__()  # Lightning calls this kind of callback last, after the epoch's figures are in
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.row: dict[str, float] = {}

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.callback_metrics.clear()  # else an epoch without a probe would seem to repeat the last probe's figure

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        last = batch_idx + 1 == trainer.num_training_batches  # the end of the epoch saves, with the epoch's figures
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0 and not last:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        done = trainer.current_epoch + 1
        if self.every_n_steps or done % self.every_n_epochs == 0 or done == trainer.max_epochs:
            self.row = {key: float(value) for key, value in trainer.callback_metrics.items()}
            self.save(trainer)
            self.row = {}

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["row"] = self.row  # a kill may come before the epoch's row is in metrics.csv

    def save(self, trainer: L.Trainer) -> None:
        """Writes beside the old file, syncs and renames, so that a kill leaves one whole checkpoint."""
        path = Path(trainer.default_root_dir) / LAST
        temporary = path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
