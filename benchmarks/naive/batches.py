"""Batches as public loaders make them: each clip copied into 300 zero frames, turned to (C, T, V, M), then stacked."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from skelssl.data.batch import Batch
from skelssl.data.store import RecipeStore

FRAMES = 300


def padded(store: RecipeStore, rows: Iterable[int], frames: int | None = FRAMES) -> Batch:
    """The clips ``rows`` of the store, each ``frames`` long (None: as the longest of them), or as long as all clips of
    the store are where that is one length.
    """
    rows = np.asarray(rows)
    lengths = np.diff(store.offsets)
    whole = int(lengths[0]) if (lengths == lengths[0]).all() else frames or int(lengths[rows].max())
    clips, valid = [], []
    for row in rows:
        clip = np.array(store.x[store.offsets[row] : store.offsets[row + 1]])
        x = np.zeros((whole, *clip.shape[1:]), np.float32)
        x[: len(clip)] = clip
        clips.append(torch.from_numpy(np.ascontiguousarray(x.transpose(3, 0, 2, 1))))
        valid.append(len(clip))
    labels = torch.tensor([int(store.labels[row]) for row in rows])
    return Batch(torch.stack(clips), torch.tensor(valid), labels, torch.from_numpy(rows))
