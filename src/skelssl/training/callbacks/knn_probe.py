"""Probe the features during training."""

from __future__ import annotations

import lightning as L
import torch

from skelssl.data.loader import batches
from skelssl.data.module import SkeletonData
from skelssl.losses.collapse import effective_rank, products, unit_std
from skelssl.methods.base import Method
from skelssl.pretrained.features import extract, probe_split
from skelssl.protocols.knn import knn
from skelssl.training.callbacks.due import due


class KNNProbe(L.Callback):
    """Log ``probe/knn/top1`` every n-th epoch: nearest neighbours between subjects of the *training* split.

    From the same features it logs ``features/std`` and ``features/effective_rank``, which fall when an encoder
    collapses. It never evaluates on the test split. The encoder's weights, buffers, modes and all random states stay
    as they are, so a run with and without the probe ends in the same weights.
    """

    def __init__(self, *, every_n_epochs: int = 5, max_clips: int = 2000, k: int = 1) -> None:
        self.every_n_epochs, self.max_clips, self.k = every_n_epochs, max_clips, k

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not due(trainer, self.every_n_epochs):
            return
        assert isinstance(module, Method)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, SkeletonData)
        store, train = data.dataset.store, data.dataset.train
        label, subject = (torch.from_numpy(a[train]) for a in (store.labels, store.facts["subject"]))
        parts = probe_split(label, subject, max_clips=self.max_clips, seed=module.seed)
        gallery, queries = (
            extract(module.encoder, module.test_view, batches(store, train[rows.numpy()]), device=module.device)
            for rows in parts
        )
        top1 = knn(gallery, queries, classes=data.dataset.classes, k=self.k).top1
        module.log("probe/knn/top1", top1, rank_zero_only=True, prog_bar=True)
        rows = torch.cat([gallery.x, queries.x]).mean(1)  # (N, D)
        values = {"std": unit_std(rows), "effective_rank": effective_rank(products(rows))}
        module.log_dict({f"features/{key}": float(value) for key, value in values.items()}, rank_zero_only=True)
