"""Load batches in an order that depends only on (seed, epoch), from any position within an epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.schema import expect
from skelssl.data.batch import Batch
from skelssl.data.resident import Resident, resident_bytes, stays_resident
from skelssl.data.store import RecipeStore
from skelssl.runtime.draws import shard

CPU = torch.device("cpu")


class EpochOrder:
    """A permutation of the rows per epoch; Lightning calls ``set_epoch``."""

    def __init__(self, rows: NDArray[np.int64], seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)


class TrainLoader:
    """Shuffled batches of one rank, from memory maps or, if `stays_resident` decides so, from ``device``.

    Batches are bit-identical however they are gathered. ``state_dict`` holds the position, so a run that is killed
    within an epoch resumes with the next batch.

    Args:
        store: the recipe store
        rows: (N,) indices of the clips in the store
        batch: the global batch size, a multiple of ``world``; each rank takes its shard (`draws.shard`)
        seed: decides the order of the clips in every epoch
        drop_last: whether to drop an incomplete last batch
        min_batch: the smallest last batch that is not dropped
        prefetch: number of batches gathered ahead, in pinned memory for CUDA; unused by resident clips
        workers: number of threads that gather them
        resident: ``auto``, true or false, see `stays_resident`
        device: the device of the batches
        overfit: if given, every epoch consists of the same ``overfit`` batches
        rank: of this process
        world: number of ranks

    Raises:
        UserError: for a setting out of range, a batch size that the ranks cannot share, or if no batch is left
    """

    def __init__(
        self,
        store: RecipeStore,
        rows: NDArray[np.int64],
        *,
        batch: int,
        seed: int,
        drop_last: bool = False,
        min_batch: int = 1,
        prefetch: int = 2,
        workers: int = 1,
        resident: bool | str = "auto",
        device: torch.device = CPU,
        overfit: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        _check_numbers(batch=(batch, max(min_batch, 1)), prefetch=(prefetch, 0), workers=(workers, 1))
        if batch % world:
            raise UserError(
                f"method.loader.batch: found {batch}, expected a multiple of the {world} ranks that share it"
            )
        self.store, self.batch, self.rank, self.world = store, batch, rank, world
        self.sampler = EpochOrder(rows if overfit is None else rows[: overfit * batch], seed)
        self.shuffled, self.prefetch, self.workers = overfit is None, prefetch, workers
        self.device, self.needed = device, resident_bytes(store, self.sampler.rows)
        self.keep = stays_resident(resident, self.needed, device)
        self.kept: Resident | None = None  # filled on the first iteration
        self.start = self.position = 0
        full, rest = divmod(len(self.sampler.rows), batch)
        self.length = full + int(not drop_last and rest >= max(min_batch, 1))
        self._check_length(len(rows))

    def _check_length(self, rows: int) -> None:
        """Raise UserError if no batch is left, or the last one has fewer clips than there are ranks."""
        if self.length == 0:
            raise UserError(f"method.loader.batch: found {self.batch}, expected at most the {rows} training clips")
        if (last := self.clips(self.length - 1)) < self.world:
            raise UserError(
                f"method.loader.drop_last: found false, and a last batch of {last} clips for {self.world} ranks, "
                "expected true, or a clip for each rank"
            )

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        start, self.start = self.start % len(self), 0
        # Read here, not at construction: the epoch is set after iter() was called.
        order = self.sampler() if self.shuffled else self.sampler.rows
        steps = [
            order[b * self.batch : (b + 1) * self.batch][shard(self.clips(b), self.rank, self.world)]
            for b in range(start, len(self))
        ]
        for position, batch in enumerate(self._gathered(steps), start + 1):
            self.position = position
            yield batch

    def _gathered(self, steps: list[NDArray[np.int64]]) -> Iterator[Batch]:
        if self.keep:
            self.kept = self.kept or Resident(self.store, self.sampler.rows, self.device)
            return map(self.kept.gather, steps)
        return ahead(self.store, steps, self.prefetch, workers=self.workers, pin=self.device.type == "cuda")

    def clips(self, step: int) -> int:
        """Return the number of clips in a global batch: ``batch``, except for the last one."""
        return min(self.batch, len(self.sampler.rows) - step * self.batch)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = state["position"]


def _check_numbers(**least: tuple[int, int]) -> None:
    """Raise UserError for a setting (value, minimum) that is not an integer or is too small."""
    for key, (value, low) in least.items():
        good = isinstance(value, int) and value >= low
        expect(f"method.loader.{key}", value, good, f"a whole number of at least {low}")


def ahead(
    store: RecipeStore, steps: list[NDArray[np.int64]], prefetch: int, *, workers: int = 1, pin: bool = False
) -> Iterator[Batch]:
    """Yield the batches of ``steps`` in order; threads gather ``prefetch`` of them ahead of use."""
    gather = partial(store.gather, pin=pin)
    if prefetch < 1:
        yield from map(gather, steps)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(gather, rows) for rows in steps[:prefetch])
        for rows in steps[prefetch:]:
            waiting.append(pool.submit(gather, rows))
            yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batches(
    store: RecipeStore, rows: NDArray[np.int64], batch: int = 256, share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Yield all clips of ``rows`` once, in order; with ``share`` (r, W), rank r of W gets every W-th batch.

    A rank without a batch gets the first one, so that every rank contributes when the ranks gather their results.
    """
    steps = [rows[b : b + batch] for b in range(0, len(rows), batch)]
    return ahead(store, steps[share[0] :: share[1]] or steps[:1], prefetch=2)
