"""Batches in an order that depends on (seed, epoch) alone, and that can start in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.data.batch import Batch
from skelssl.data.store import RecipeStore
from skelssl.errors import UserError
from skelssl.parallel import share


class EpochOrder:
    """A permutation of the rows per epoch; Lightning calls ``set_epoch``."""

    def __init__(self, rows: NDArray[np.int64], seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)


class TrainLoader:
    """Shuffled batches of one rank; one thread gathers the next batches while the current one is used.

    ``batch`` is the global size, which the number of ranks must divide; each takes its part of every batch
    (`parallel.share`). A last batch smaller than ``min_batch`` is left out. ``overfit`` gives the same so many batches
    in every epoch. ``state_dict`` holds the position, so that a run killed in mid-epoch goes on with the very next
    batch. Raises UserError where no batch is left.
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
        overfit: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        for key, value, low in (("batch", batch, max(min_batch, 1)), ("prefetch", prefetch, 0)):
            if not isinstance(value, int) or value < low:
                raise UserError(f"method.loader.{key}: found {value!r}, expected a whole number of at least {low}")
        if batch % world:
            raise UserError(
                f"method.loader.batch: found {batch}, expected a multiple of the {world} ranks that share it"
            )
        self.store, self.batch, self.rank, self.world = store, batch, rank, world
        self.sampler = EpochOrder(rows if overfit is None else rows[: overfit * batch], seed)
        self.shuffled, self.prefetch = overfit is None, prefetch
        self.start = self.position = 0
        full, rest = divmod(len(self.sampler.rows), batch)
        self.length = full + int(not drop_last and rest >= max(min_batch, 1))
        if self.length == 0:
            raise UserError(f"method.loader.batch: found {batch}, expected at most the {len(rows)} training clips")
        if (last := self.clips(self.length - 1)) < world:
            raise UserError(
                f"method.loader.drop_last: found false, and a last batch of {last} clips for {world} ranks, "
                "expected true, or a clip for each rank"
            )

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        start, self.start = self.start % len(self), 0
        # Read here, not at construction: the epoch is set after iter() was called.
        order = self.sampler() if self.shuffled else self.sampler.rows
        steps = [
            order[b * self.batch : (b + 1) * self.batch][share(self.clips(b), self.rank, self.world)]
            for b in range(start, len(self))
        ]
        for position, batch in enumerate(ahead(self.store, steps, self.prefetch), start + 1):
            self.position = position
            yield batch

    def clips(self, step: int) -> int:
        """Clips of a global batch: ``batch``, but for the last one."""
        return min(self.batch, len(self.sampler.rows) - step * self.batch)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = state["position"]


def ahead(store: RecipeStore, steps: list[NDArray[np.int64]], prefetch: int) -> Iterator[Batch]:
    """Gathers the batches of ``steps`` in order, ``prefetch`` of them ahead of use in a thread."""
    if prefetch < 1:
        yield from map(store.gather, steps)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(store.gather, rows) for rows in steps[:prefetch]]
        for step in range(len(steps)):
            if step + prefetch < len(steps):
                waiting.append(pool.submit(store.gather, steps[step + prefetch]))
            yield waiting.pop(0).result()


def batches(
    store: RecipeStore, rows: NDArray[np.int64], batch: int = 256, share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """All clips of ``rows`` once, in order; of them, rank r of W = ``share`` gets every W-th batch.

    A rank without a batch gets the first one, so that none stands aside where ranks join what they have computed.
    """
    steps = [rows[b : b + batch] for b in range(0, len(rows), batch)]
    return ahead(store, steps[share[0] :: share[1]] or steps[:1], prefetch=2)
