"""The bar a person watches."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Rich bar with loss and probe; where the output is no terminal, one line an epoch instead."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        self.terminal = sys.stdout.isatty()
        if not self.terminal:
            self.disable()

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        return {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.is_global_zero and not self.terminal:
            shown = [f"{k} {float(v):.4g}" for k, v in sorted(trainer.callback_metrics.items())]
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  " + "  ".join(shown), flush=True)
