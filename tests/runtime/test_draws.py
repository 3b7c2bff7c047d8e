"""Random draws depend on (seed, epoch, step) alone, on one process as on several ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from skelssl.runtime.collectives import rank
from skelssl.runtime.draws import clip_generator, per_clip, seed_step, shard, step_generator
from tests.helpers.ranks import run_ranks


def test_step_generator_draws_known_numbers() -> None:
    drawn = torch.randint(1000, (4,), generator=step_generator(0, 1, 2, "shared")).tolist()
    assert drawn == [792, 28, 890, 492]
    assert torch.randint(1000, (4,), generator=step_generator(0, 1, 2, "shared")).tolist() == drawn


def test_every_part_of_the_key_matters() -> None:
    keys = [
        (0, 1, 2, "shared"),
        (1, 1, 2, "shared"),
        (0, 2, 1, "shared"),
        (0, 1, 3, "shared"),
        (0, 1, 2, 0),
        (0, 1, 2, 1),
    ]
    seeds = {step_generator(*key).initial_seed() for key in keys}
    seed_step(0, 1, 2, 0)
    assert len(seeds | {torch.initial_seed()}) == len(keys) + 1


def test_seed_step_repeats_dropout() -> None:
    def mask(step: int, rank: int) -> list[float]:
        seed_step(3, 0, step, rank)
        return nn.functional.dropout(torch.ones(64), 0.5).tolist()

    first = mask(5, 0)
    torch.rand(7)
    assert mask(5, 0) == first
    assert mask(6, 0) != first
    assert mask(5, 1) != first


def draws() -> dict[str, list[float]]:
    return {str(s): torch.rand(5, generator=step_generator(1, 2, 3, s)).tolist() for s in ("shared", rank())}


def test_shared_draws_agree_across_ranks_and_with_one_process() -> None:
    first, second = run_ranks(draws, 2)
    assert first["shared"] == second["shared"] == draws()["shared"]
    assert first["0"] == draws()["0"] != second["1"]


@pytest.mark.parametrize("total", [8, 9, 3])
def test_ranks_draw_their_clips_numbers_of_one_process(total: int) -> None:
    one = step_generator(1, 2, 3, 0)
    whole = [torch.rand(2 * total, 3, generator=one), torch.rand(2, total, generator=one)]
    parts: list[list[Tensor]] = [[], []]
    for r in range(3):
        mine = shard(total, r, 3)
        n, draw = mine.stop - mine.start, clip_generator(1, 2, 3, total, mine)
        parts[0].append(per_clip(torch.rand, (2 * n, 3), draw))
        parts[1].append(per_clip(torch.rand, (2, n), draw, clips=1))
    assert torch.equal(torch.cat(parts[0]), whole[0])
    assert torch.equal(torch.cat(parts[1], 1), whole[1])


def test_draws_that_are_not_clip_by_clip_are_refused() -> None:
    draw = clip_generator(0, 0, 0, 8, shard(8, 0, 2))
    with pytest.raises(ValueError, match="expected 4 clips or a multiple in dimension 0, found shape"):
        per_clip(torch.rand, (6, 2), draw)
    assert per_clip(torch.rand, (6, 2), torch.Generator()).shape == (6, 2)
