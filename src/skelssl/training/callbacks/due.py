"""Decide when a callback runs."""

from __future__ import annotations

import lightning as L


def due(trainer: L.Trainer, every_n_epochs: int) -> bool:
    """Return whether, on the first rank, the ending epoch is an n-th one or the last."""
    done = trainer.current_epoch + 1
    return trainer.is_global_zero and (done % every_n_epochs == 0 or done == trainer.max_epochs)
