"""Show a progress bar on a terminal."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Rich bar on a terminal, nothing elsewhere, where `MetricsCSV` prints a line per epoch."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Ask whether there is a terminal when training begins: the trainer is built while output is redirected."""
        super().setup(trainer, pl_module, stage)
        if not sys.stdout.isatty():
            self.disable()

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return Lightning's metrics without the version number of a logger that we do not use."""
        return {key: value for key, value in super().get_metrics(trainer, pl_module).items() if key != "v_num"}
