"""What every method shares: the randomness of a step, the optimiser and its rate, the encoders to ship.

It knows no algorithm. A method implements ``training_step`` and, where it has teachers or queues, the hooks it needs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from skelssl.core.errors import Diverged
from skelssl.data.batch import Batch
from skelssl.methods.visualize import MaskedClip
from skelssl.optim import Optim, clip_norm
from skelssl.runtime.collectives import gather, rank, world_size
from skelssl.runtime.devices import send
from skelssl.runtime.draws import clip_generator, seed_step, share, step_generator


class Method(L.LightningModule):
    """A paper. Sub-classes set ``encoder`` (and others they ship) and name their parts in their own terms."""

    encoder: nn.Module

    def __init__(self, *, view: Mapping[str, nn.Module], optim: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        self.view, self.test_view = view["pretrain"], view["test"]
        self.optim, self.seed = Optim.parse(optim), seed
        self.seconds, self._since = 0.0, time.monotonic()
        self._sums: dict[str, Tensor] = {}  # of the epoch so far
        self._total: int | None = None  # clips of the global batch; None in one process

    def encoders(self) -> dict[str, nn.Module]:
        """Encoders to ship by name; ``""`` is the default one."""
        return {"": self.encoder}

    def compiled(self) -> list[tuple[nn.Module, str]]:
        """Functions that ``compile=true`` compiles in place, each a part and the name of one of its methods.

        Names rather than modules: a transformer is trained through `encode`, not through its call. What draws on the
        host, or asks for shapes that depend on values, stays out.
        """
        return [(self.encoder, "forward")]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimiser; by default one with every parameter that trains."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def visualize(self, x: Tensor, generator: torch.Generator) -> list[MaskedClip]:
        """The method's masks on one clip of joint positions (1, 3, T, V, M); by default the plain clip.

        Whatever the stream of a run: masks that follow motion are shown following that of the positions. Only where a
        mask looks through the encoder, that one sees the stream it was trained on.
        """
        return [MaskedClip("clip")]

    def generator(self, scope: str | int = "shared") -> torch.Generator:
        """Random numbers of this step: ``shared`` ones are the same on all ranks, a rank's number makes its own.

        ``clips`` is for what is drawn clip by clip: a clip meets the same numbers whatever the number of ranks.
        All come from (seed, epoch, step) alone, so a resumed run draws what the uninterrupted one would have drawn.
        """
        if scope == "clips":
            if self._total is None:
                return step_generator(self.seed, self.current_epoch, self._step, 0)
            mine = share(self._total, rank(), world_size())
            return clip_generator(self.seed, self.current_epoch, self._step, self._total, mine)
        return step_generator(self.seed, self.current_epoch, self._step, scope)

    def clips(self, batch: Batch) -> int:
        """Clips of this step on all ranks."""
        return len(batch) if self._total is None else self._total

    def configure_optimizers(self) -> Optimizer:
        return self.optim.build(self.parameter_groups())

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._step = batch_idx
        loader: Any = self.trainer.train_dataloader
        self._total = loader.clips(batch_idx) if world_size() > 1 else None
        seed_step(self.seed, self.current_epoch, batch_idx, self.global_rank)  # dropout
        steps = self.trainer.num_training_batches
        done = batch_idx / steps if self.optim.interval == "step" else 0.0
        rate = self.optim.rate(self.current_epoch + done)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """DDP takes the mean over ranks; a rank that holds fewer clips of a last batch counts for less in it."""
        if self._total is not None and self._total % world_size():
            mine = share(self._total, rank(), world_size())
            loss = loss * ((mine.stop - mine.start) * world_size() / self._total)
        super().backward(loss, *args, **kwargs)

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        if self.optim.clip is not None:  # not by Lightning's own, which refuses fused optimisers in mixed precision
            clip_norm([p for group in optimizer.param_groups for p in group["params"]], self.optim.clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seconds"] = self.elapsed
        sums = gather(self._stacked()[None], even=True)  # (W, K)
        checkpoint["sums"] = dict(zip(sorted(self._sums), sums.T.tolist(), strict=True))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds = checkpoint["seconds"]
        sums = {name: torch.tensor(values, dtype=torch.float64) for name, values in checkpoint["sums"].items()}
        self._sums = {name: _own(values.reshape(-1)) for name, values in sums.items()}

    @property
    def elapsed(self) -> float:
        """Seconds of the whole run, those before a resume included."""
        return self.seconds + time.monotonic() - self._since

    def log_losses(self, batch: Batch, **losses: Tensor) -> None:
        """Adds to ``train/<name>``, the epoch's mean over clips; nothing leaves the device before the epoch's end."""
        values = {**losses, "clips": torch.ones_like(losses["loss"])}
        for name, value in values.items():  # a resumed epoch's sums lie on the host
            before = self._sums.get(name)
            self._sums[name] = torch.zeros_like(value) if before is None else send(before.to(value.dtype), value.device)
        sums = [self._sums[name] for name in values]
        torch._foreach_add_(sums, [value.detach() for value in values.values()], alpha=len(batch))

    def epoch_means(self) -> dict[str, Tensor]:
        """Means over the clips of all ranks since the epoch began."""
        sums = self._stacked()
        if world_size() > 1:
            dist.all_reduce(sums)
        totals = dict(zip(sorted(self._sums), sums, strict=True))
        clips = totals.pop("clips")
        return {name: total / clips for name, total in totals.items()}

    def _stacked(self) -> Tensor:
        """(K,) sums in the order of their names; (0,) at the beginning of an epoch."""
        values = [self._sums[name].to(self.device) for name in sorted(self._sums)]
        return torch.stack(values) if values else torch.zeros(0, device=self.device)

    def on_train_epoch_end(self) -> None:
        means = {f"train/{name}": mean for name, mean in self.epoch_means().items()}
        if not means["train/loss"].isfinite():
            raise Diverged(f"train/loss: found {means['train/loss']}, expected a finite number; try a lower optim.lr")
        self.log_dict(means, prog_bar=True)
        self._sums = {}


def _own(sums: Tensor) -> Tensor:
    """This rank's part () of a checkpoint's sums (W,); the first takes all that another number of ranks wrote."""
    if len(sums) == world_size():
        return sums[rank()]
    return sums.sum() if rank() == 0 else sums.new_zeros(())
