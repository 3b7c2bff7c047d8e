"""Draw the randomness of a training step, and weigh the ranks where the last batch is uneven."""

from __future__ import annotations

import torch

from skelssl.runtime.collectives import rank, world_size
from skelssl.runtime.draws import clip_generator, shard, step_generator


def scoped_generator(scope: str | int, *, seed: int, epoch: int, step: int, clips: int | None) -> torch.Generator:
    """Return the CPU generator of one step: ``shared``, ``clips``, or a rank's number for draws of its own.

    ``clips`` counts those of the global batch; None in one process.
    """
    if scope != "clips":
        return step_generator(seed, epoch, step, scope)
    if clips is None:
        return step_generator(seed, epoch, step, 0)
    return clip_generator(seed, epoch, step, clips, shard(clips, rank(), world_size()))


def rank_weight(clips: int | None) -> float:
    """Return what this rank's mean loss counts for in DDP's mean over ranks: n·W / N, 1 for even batches.

    n of the N = ``clips`` clips of the global batch are on this rank, of W ranks.
    """
    if clips is None or clips % world_size() == 0:
        return 1.0
    mine = shard(clips, rank(), world_size())
    here: int = mine.stop - mine.start
    return here * world_size() / clips
