"""Log learning rate, gradient norm and throughput of every run, one value per epoch."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from skelssl.core.errors import UserError
from skelssl.methods.base import Method


class Monitor(L.Callback):
    """Log ``optim/lr``, ``optim/grad_norm`` and ``speed/clips_per_second`` at the end of an epoch.

    The learning rate is that of the last step. The norm is the L2 norm of all gradients before clipping, a mean over
    every n-th step of the epoch, its first one among them; the sum stays on the device until the epoch's end, so no
    step waits for it. The speed counts the clips of all ranks over the seconds of the training loop, probes left out;
    an epoch that was resumed counts from there on.
    """

    def __init__(self, *, every_n_steps: int = 10) -> None:
        if not isinstance(every_n_steps, int) or every_n_steps < 1:
            raise UserError(
                f"callbacks.monitor.every_n_steps: found {every_n_steps!r}, expected a whole number of at least 1"
            )
        self.every_n_steps = every_n_steps
        self.norms, self.seen = torch.zeros(()), 0  # of the epoch so far; those of the ranks are alike
        self.step = self.clips = 0
        self.since = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.clips, self.since = 0, time.monotonic()

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.step = batch_idx

    def on_before_optimizer_step(self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer) -> None:
        if self.step % self.every_n_steps == 0:
            norm = get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
            self.norms, self.seen = self.norms + norm, self.seen + 1

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert isinstance(module, Method)
        self.clips += module.clips(batch)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        values = {"optim/lr": trainer.optimizers[0].param_groups[0]["lr"]}
        if self.seen:
            values["optim/grad_norm"] = float(self.norms) / self.seen  # waits for the device, as the speed must
        if self.clips:
            values["speed/clips_per_second"] = self.clips / max(time.monotonic() - self.since, 1e-9)
        module.log_dict(values)
        self.norms, self.seen = torch.zeros(()), 0

    def state_dict(self) -> dict[str, Any]:
        return {"norms": self.norms, "seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.norms, self.seen = state_dict["norms"], state_dict["seen"]
