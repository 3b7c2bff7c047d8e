"""What every method shares: its draws, its optimiser, the means it logs, the encoders it exports.

It knows no algorithm. A method implements ``training_step`` and, where it has teachers or queues, the hooks it needs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from skelssl.core.errors import Diverged
from skelssl.data.batch import Batch
from skelssl.methods.epoch_means import EpochMeans
from skelssl.methods.step_draws import rank_weight, scoped_generator
from skelssl.methods.visualize import MaskedClip
from skelssl.optim import Optim
from skelssl.runtime.collectives import world_size
from skelssl.runtime.draws import seed_step


class Method(L.LightningModule):
    """A paper. Sub-classes set ``encoder`` (and others they export) and name their parts in their own terms.

    Args:
        view: ``pretrain`` and ``test`` modules, (batch, generator) -> clips (N·K, C, T', V, M).
        optim: the block ``method.optim``, the keys of `Optim`.
        seed: of every draw that training makes.

    Raises:
        UserError: for an ``optim`` block with unknown, missing or wrong values.
    """

    encoder: nn.Module

    def __init__(self, *, view: Mapping[str, nn.Module], optim: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        self.view, self.test_view = view["pretrain"], view["test"]
        self.optim, self.seed = Optim.parse(optim), seed
        self.means = EpochMeans()
        self.seconds, self._since = 0.0, time.monotonic()
        self._total: int | None = None  # clips of the global batch; None in one process

    # --- what a paper overrides --------------------------------------------------------------------------------------

    def encoders(self) -> dict[str, nn.Module]:
        """Return the encoders to export by name; ``""`` is the default one."""
        return {"": self.encoder}

    def compiled(self) -> list[tuple[nn.Module, str]]:
        """Return the functions that ``compile=true`` compiles in place: parts, each with the name of a method of it.

        Names rather than modules: a transformer is trained through `encode`, not through its call. What draws on the
        host, or asks for shapes that depend on values, stays out.
        """
        return [(self.encoder, "forward")]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the groups for the optimiser; by default one with every parameter that trains."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def visualize(self, x: Tensor, generator: torch.Generator) -> list[MaskedClip]:
        """Return the method's masks on one clip of joint positions (1, 3, T, V, M); by default the plain clip.

        They are drawn on positions whatever the stream of a run, so masks that follow motion follow that of the
        positions. Only a mask that depends on the encoder gives it the stream that it was trained on.
        """
        return [MaskedClip("clip")]

    # --- what a training step uses -----------------------------------------------------------------------------------

    def generator(self, scope: str | int = "shared") -> torch.Generator:
        """Return the CPU generator of this step for one ``scope``.

        All draws come from (seed, epoch, step) alone, so a resumed run draws what the uninterrupted one would have.

        Args:
            scope: ``shared`` for draws that are the same on all ranks; ``clips`` for what is drawn clip by clip, where
                a clip meets the same numbers whatever the number of ranks; a rank's number for draws of its own.
        """
        now = {"seed": self.seed, "epoch": self.current_epoch, "step": self._step}
        return scoped_generator(scope, **now, clips=self._total)

    def clips(self, batch: Batch) -> int:
        """Return the number of clips of this step on all ranks."""
        return len(batch) if self._total is None else self._total

    def log_losses(self, batch: Batch, **losses: Tensor) -> None:
        """Add means () over ``batch`` to ``train/<name>``, the epoch's mean over clips; ``loss`` must be among them."""
        self.means.add(len(batch), losses)

    # --- what Lightning calls ----------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Optimizer:
        return self.optim.build(self.parameter_groups())

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._step = batch_idx
        loader: Any = self.trainer.train_dataloader
        self._total = loader.clips(batch_idx) if world_size() > 1 else None
        seed_step(self.seed, self.current_epoch, batch_idx, self.global_rank)  # dropout
        done = batch_idx / self.trainer.num_training_batches
        self.optim.set_rate(self.trainer.optimizers[0], self.current_epoch, done)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """DDP takes the mean over ranks; a rank that holds fewer clips of a last batch counts for less in it."""
        weight = rank_weight(self._total)
        super().backward(loss if weight == 1 else loss * weight, *args, **kwargs)

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        self.optim.clip_gradients(optimizer)  # not by Lightning, which rejects fused optimisers in mixed precision

    def on_train_epoch_end(self) -> None:
        means = {f"train/{name}": mean for name, mean in self.means.over_ranks(self.device).items()}
        if not means["train/loss"].isfinite():
            raise Diverged(f"train/loss: found {means['train/loss']}, expected a finite number; try a lower optim.lr")
        self.log_dict(means, prog_bar=True)
        self.means = EpochMeans()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seconds"] = self.elapsed
        checkpoint["sums"] = self.means.state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds = checkpoint["seconds"]
        self.means.load(checkpoint["sums"])

    @property
    def elapsed(self) -> float:
        """Seconds of the whole run, those before a resume included."""
        return self.seconds + time.monotonic() - self._since
