"""What a method's masks hide: how much, and whether it is what moves."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import torch
from torch import Tensor

from skelssl.data.module import SkeletonData
from skelssl.methods.base import Method
from skelssl.methods.mask_statistics import figures, untouched
from skelssl.methods.visualize import Shown
from skelssl.runtime.draws import step_generator
from skelssl.training.callbacks.due import due

CLIPS = 8


class MaskMonitor(L.Callback):
    """Logs ``mask/<name>/share`` and ``mask/<name>/motion`` every n-th epoch, means over eight training clips.

    The share is that of what is hidden (joints, frames or tokens of the persons who are there). The motion is that of
    what is hidden over that of everything: 1 for a mask that does not care, more for one that hides what moves.
    """

    def __init__(self, *, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not due(trainer, self.every_n_epochs):
            return
        assert isinstance(module, Method)
        found: dict[str, list[Tensor]] = {}
        data: SkeletonData = trainer.datamodule  # type: ignore[attr-defined]
        for x, shown in shown_clips(module, data, CLIPS):
            for mask in shown:
                if mask.name and (x != 0).any():
                    share, motion = figures(mask, x, data.dataset.store.coordinates)
                    found.setdefault(f"mask/{mask.name}/share", []).append(share)
                    found.setdefault(f"mask/{mask.name}/motion", []).append(motion)
        module.log_dict({key: float(torch.stack(values).mean()) for key, values in found.items()}, rank_zero_only=True)


def shown_clips(method: Method, data: SkeletonData, count: int) -> Iterator[tuple[Tensor, list[Shown]]]:
    """About ``count`` training clips (1, 3, T, V, M), spread over the set, each with its masks as this epoch's
    generator draws them.
    """
    store, train = data.dataset.store, data.dataset.train
    batch = store.gather(train[:: -(-len(train) // count)])
    weight = next(method.parameters())  # on its device, and as wide
    generator = step_generator(method.seed, method.current_epoch, 0, "shown")
    for i in range(len(batch)):
        x = batch.x[i : i + 1, :, : int(batch.frames[i])].to(weight)
        with untouched(method):
            shown = method.show(x, generator)
        yield x, shown
