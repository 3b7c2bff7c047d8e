"""Log how much a method's masks hide, and whether it is what moves."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import torch
from torch import Tensor

from skelssl.data.module import SkeletonData
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip, mask_metrics, untouched
from skelssl.runtime.draws import step_generator
from skelssl.training.callbacks.due import due

CLIPS = 8


class MaskMonitor(L.Callback):
    """Log ``mask/<name>/share`` and ``mask/<name>/motion`` every n-th epoch, means over eight training clips.

    The first is the masked fraction (of joints, frames or tokens of the persons present). The second is the motion of
    what is masked over that of everything: 1 for a mask that ignores motion, more for one that hides what moves.
    """

    def __init__(self, *, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not due(trainer, self.every_n_epochs):
            return
        assert isinstance(module, Method)
        found: dict[str, list[Tensor]] = {}
        data: SkeletonData = trainer.datamodule  # type: ignore[attr-defined]
        for x, masks in masked_clips(module, data, CLIPS):
            for mask in masks:
                if mask.name and (x != 0).any():
                    share, motion = mask_metrics(mask, x, data.dataset.store.coordinates)
                    found.setdefault(f"mask/{mask.name}/share", []).append(share)
                    found.setdefault(f"mask/{mask.name}/motion", []).append(motion)
        module.log_dict({key: float(torch.stack(values).mean()) for key, values in found.items()}, rank_zero_only=True)


def masked_clips(method: Method, data: SkeletonData, count: int) -> Iterator[tuple[Tensor, list[MaskedClip]]]:
    """Yield about ``count`` training clips (1, 3, T, V, M), spread over the dataset, each under the method's masks as
    this epoch's generator draws them.
    """
    store, train = data.dataset.store, data.dataset.train
    batch = store.gather(train[:: -(-len(train) // count)])
    weight = next(method.parameters())  # clips take its device and dtype
    generator = step_generator(method.seed, method.current_epoch, 0, "shown")
    for i in range(len(batch)):
        x = batch.x[i : i + 1, :, : int(batch.frames[i])].to(weight)
        with untouched(method):
            masks = method.visualize(x, generator)
        yield x, masks
