"""Hold the clips of a run on its device, ragged as in the store; a step then copies only indices from the host."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.data.store import RecipeStore
from skelssl.runtime.devices import send

MEMORY_FRACTION = 0.25  # of free memory that ``auto`` may fill; the rest is for weights, activations and the cache
COPY_CHUNK = 512  # clips copied at a time
RESIDENT_CHOICES = ("auto", True, False)


def resident_bytes(store: RecipeStore, rows: NDArray[np.int64]) -> int:
    """Return the number of bytes that the clips ``rows`` and one empty frame take."""
    frames = int((store.offsets[rows + 1] - store.offsets[rows]).sum()) + 1
    return frames * store.x[:0].itemsize * int(np.prod(store.x.shape[1:]))


def stays_resident(resident: bool | str, needed: int, device: torch.device) -> bool:
    """Return whether ``needed`` bytes of clips should be held on ``device``.

    ``auto`` means: on a CUDA device if they fill at most a quarter of its free memory. On a CPU the memory map is
    already in the page cache that all processes share, so ``auto`` copies nothing; true does.

    Raises:
        UserError: for another value, and for true if CUDA memory is too small
    """
    if resident not in RESIDENT_CHOICES:
        raise UserError(f"method.loader.resident: found {resident!r}, expected auto, true or false")
    if not resident or device.type != "cuda":
        return resident is True
    free = torch.cuda.mem_get_info(device)[0]
    if resident is True and needed > free:
        raise UserError(
            f"method.loader.resident: found true, {needed / 1e9:.1f} GB of clips and {free / 1e9:.1f} GB free on "
            f"{device}, expected auto or false"
        )
    return resident is True or needed <= MEMORY_FRACTION * free


class Resident:
    """The clips ``rows`` of a store on ``device``; `gather` is bit-identical to that of the store."""

    def __init__(self, store: RecipeStore, rows: NDArray[np.int64], device: torch.device) -> None:
        self.device = device
        self.lengths = store.offsets[rows + 1] - store.offsets[rows]
        self.place = np.full(len(store), -1)  # of a row of the store
        self.place[rows] = np.arange(len(rows))
        start = np.concatenate([[0], np.cumsum(self.lengths)])
        self.x = torch.zeros(
            int(start[-1]) + 1, *store.x.shape[1:], device=device
        )  # (F + 1, M, V, 3); the last: padding
        for i in range(0, len(rows), COPY_CHUNK):
            clips = [store.x[store.offsets[row] : store.offsets[row + 1]] for row in rows[i : i + COPY_CHUNK]]
            first, last = start[i], start[min(i + COPY_CHUNK, len(rows))]
            self.x[first:last].copy_(torch.from_numpy(np.concatenate(clips)))
        facts = np.stack([start[:-1], self.lengths, store.labels[rows], rows])
        self.start, self.frames, self.label, self.index = torch.from_numpy(facts).to(device)

    def gather(self, rows: NDArray[np.int64]) -> Batch:
        """Return the clips of ``rows`` as one Batch on the device, zero-padded to the longest of them."""
        place = self.place[rows]
        longest = int(self.lengths[place].max(initial=0))
        chosen = send(torch.from_numpy(place), self.device)
        frames, step = self.frames[chosen], torch.arange(longest, device=self.device)
        there = step < frames[:, None]
        index = torch.where(there, self.start[chosen][:, None] + step, len(self.x) - 1)
        x = self.x.index_select(0, index.flatten()).view(*index.shape, *self.x.shape[1:])  # (N, T, M, V, 3)
        return Batch(x.permute(0, 4, 1, 3, 2), frames, self.label[chosen], self.index[chosen])
