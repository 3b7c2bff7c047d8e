"""Choose the test clips with the most motion, on which sections draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.data.module import Dataset
from skelssl.pages.run import OpenedRun
from skelssl.views.streams import positions

POOL = 64  # candidates, spread over the test split


def liveliest_clips(data: Dataset, count: int) -> list[int]:
    """Return the indices of ``count`` test clips of different classes, each with the most motion of its class among
    the candidates, in descending order of motion.
    """
    batch = data.store.gather(data.test[:: 1 + len(data.test) // POOL])
    motion = positions(batch.x, data.store.coordinates).diff(dim=2).square().sum((1, 2, 3, 4))
    best: dict[int, int] = {}
    for i in motion.argsort(descending=True, stable=True).tolist():
        best.setdefault(int(batch.label[i]), int(batch.index[i]))
    return list(best.values())[:count]


def pose_of(run: OpenedRun) -> NDArray[np.float64]:
    """Return a body (V, 3) to draw values on: of the clip with the most motion, the first one with the most joints."""
    x = run.positions(liveliest_clips(run.data, 1)[0])[0].permute(1, 3, 2, 0).flatten(0, 1)  # (T·M, V, 3)
    complete = int(x.any(2).sum(1).argmax())
    return np.asarray(x[complete].numpy(), dtype=np.float64)
