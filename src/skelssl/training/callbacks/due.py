"""When a callback has its turn."""

from __future__ import annotations

import lightning as L


def due(trainer: L.Trainer, every_n_epochs: int) -> bool:
    """At the end of an epoch: is it an n-th one, or the last, and this process the first rank?"""
    done = trainer.current_epoch + 1
    return trainer.is_global_zero and (done % every_n_epochs == 0 or done == trainer.max_epochs)
