"""Draw random numbers that depend on (seed, epoch, step) alone, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
from torch import Tensor


def shard(total: int, rank: int, world: int) -> slice:
    """Return the shard of ``total`` clips that rank ``rank`` of ``world`` takes: neighbours, so that
    gathering restores the order.

    Where ``world`` does not divide ``total`` the first ranks take one more.

    >>> [shard(10, r, 4) for r in range(4)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None), slice(8, 10, None)]
    """
    each, more = divmod(total, world)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def _hash(*key: object) -> int:
    """Return 63 bits that are the same on every machine, unlike those of Python's own hash."""
    return int.from_bytes(blake2b("/".join(map(str, key)).encode(), digest_size=8).digest(), "big") >> 1


def step_generator(seed: int, epoch: int, step: int, scope: str | int) -> torch.Generator:
    """Return the CPU generator of one training step; ``scope`` is "shared" for all ranks alike, or a rank's number.

    It depends on its arguments alone, so a resumed run draws what an uninterrupted one would have drawn.
    """
    return torch.Generator().manual_seed(_hash("draws", seed, epoch, step, scope))


class ClipGenerator(torch.Generator):
    """A generator for the clips of one global batch of ``total``, of which this rank holds ``mine``.

    `per_clip` draws for all of them, on every rank alike, and keeps this rank's shard: clip i gets the same numbers
    whatever the number of ranks.
    """

    total: int
    mine: slice


def clip_generator(seed: int, epoch: int, step: int, total: int, mine: slice) -> ClipGenerator:
    """Return the generator of one step's clips; in one process it draws what ``step_generator(..., 0)`` draws."""
    generator = ClipGenerator()
    generator.manual_seed(step_generator(seed, epoch, step, 0).initial_seed())
    generator.total, generator.mine = total, mine
    return generator


def per_clip(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None, clips: int = 0
) -> Tensor:
    """Return ``draw(shape, generator=generator)``; dimension ``clips`` of it has 1 or K entries per clip of this rank.

    Every random number of views and maskers that belongs to a clip is drawn through here.
    """
    if not isinstance(generator, ClipGenerator):
        return draw(tuple(shape), generator=generator)
    start, stop = generator.mine.start, generator.mine.stop
    each, rest = divmod(shape[clips], stop - start)
    if rest:
        raise ValueError(
            f"expected {stop - start} clips or a multiple in dimension {clips}, found shape {tuple(shape)}"
        )
    whole = [*shape[:clips], generator.total * each, *shape[clips + 1 :]]
    return draw(tuple(whole), generator=generator).narrow(clips, start * each, shape[clips])


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed torch's global generators, which dropout uses, for one step of one rank, on every device."""
    torch.manual_seed(_hash("global", seed, epoch, step, rank))
