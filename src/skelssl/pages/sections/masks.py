"""What a method hides: some clips under its masks, and how often which joint and which moment is hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from torch import Tensor

from skelssl.data.batch import Batch
from skelssl.data.module import Dataset
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip, hidden, untouched
from skelssl.pages.clip_figures import masked, positioned
from skelssl.pages.figures.mask_rates import Rates, mask_rates
from skelssl.pages.figures.player import PlayerClip, how_to_read, skeleton_player
from skelssl.pages.run import Look, Section
from skelssl.views.streams import positions

CLIPS, DRAWS, SHOWN, FRAMES = 64, 4, 3, 20
POOL = 64  # clips among which the lively ones are looked for
WITHOUT = "This method hides nothing. What it learns from are two draws of its augmentations, of which three are shown."


def players(look: Look) -> Section:
    """The liveliest clips of some classes under every mask, or under the augmentations where there are none."""
    shown = {look.named(row): _figures(look, row) for row in lively(look.data, SHOWN)}
    clips = [clip for group in shown.values() for clip in group]
    hides = type(look.method).visualize is not Method.visualize
    caption = f"Test clips as the encoder meets them in training. {how_to_read(clips)}" if hides else WITHOUT
    return Section(f"{caption} Drag to turn.", skeleton_player(shown, look.body))


def lively(data: Dataset, count: int) -> list[int]:
    """Rows of test clips, each of another class: the liveliest of its class among some, the liveliest first."""
    batch = data.store.gather(data.test[:: 1 + len(data.test) // POOL])
    moves = positions(batch.x, data.store.coordinates).diff(dim=2).square().sum((1, 2, 3, 4))
    best: dict[int, int] = {}
    for i in moves.argsort(descending=True, stable=True).tolist():
        best.setdefault(int(batch.label[i]), int(batch.index[i]))
    return list(best.values())[:count]


def _figures(look: Look, row: int) -> list[PlayerClip]:
    if type(look.method).visualize is Method.visualize:
        return views(look, row, SHOWN)
    return under_masks(look.method, look.clip(row), look.seed, flat=look.flat)


def under_masks(method: Method, x: Tensor, seed: int, *, flat: bool = False) -> list[PlayerClip]:
    """A clip (1, 3, T, V, M) under each mask of the method, the same ones every time."""
    with untouched(method):
        return masked(method.visualize(x, torch.Generator().manual_seed(seed)), x, flat=flat)


def views(look: Look, row: int, draws: int) -> list[PlayerClip]:
    """Draws of the pre-training view, in positions whatever the stream."""
    view = instantiate({**look.config["method"]["view"]["pretrain"], "stream": "joint"}, _convert_="all")
    x, dice = look.clip(row), torch.Generator().manual_seed(look.seed)
    one = torch.zeros(1, dtype=torch.int64)
    batch = Batch(x=x, frames=one + x.shape[2], label=one, index=one)
    drawn = torch.cat([view(batch, dice) for _ in range(draws)])[:draws]
    return [positioned(f"draw {i + 1}", draw[None], flat=look.flat) for i, draw in enumerate(drawn)]


def rates(look: Look) -> Section:
    """Share hidden by joint and by moment."""
    found = measured(look.method, look.data, look.seed)
    if not found:
        return Section("", "<p>This method hides nothing, so there is no share to measure.</p>")
    caption = (
        f"{DRAWS} masks of each of {next(iter(found.values())).draws // DRAWS} training clips, drawn on whole clips; "
        "persons who are there alone. Colours span the smallest to the largest share, however close they are."
    )
    return Section(caption, mask_rates(list(found.values()), look.body, pose(look)))


def pose(look: Look) -> NDArray[np.float64]:
    """(V, 3) somebody to draw figures on, in the liveliest test clip: the first body with as many joints as any has."""
    x = look.positions(lively(look.data, 1)[0])[0].permute(1, 3, 2, 0).flatten(0, 1)  # (T·M, V, 3)
    whole = int(x.any(2).sum(1).argmax())
    return np.asarray(x[whole].numpy(), dtype=np.float64)


def measured(method: Method, data: Dataset, seed: int) -> Mapping[str, Rates]:
    """Rates of each mask that has a name, over ``CLIPS`` training clips with ``DRAWS`` masks each."""
    batch = data.store.gather(data.train[:: -(-len(data.train) // CLIPS)])
    dice, sums = torch.Generator().manual_seed(seed), dict[str, list[Any]]()
    same = bool((batch.frames == batch.frames[0]).all())
    for i in range(len(batch)):
        x = batch.x[i : i + 1, :, : int(batch.frames[i])]
        for _ in range(DRAWS):
            with untouched(method):
                shown = method.visualize(x, dice)
            for mask in shown:
                if mask.name and x.any():
                    sums.setdefault(mask.name, []).append(_grid(mask, x, same))
    return {name: _rates(name, found) for name, found in sums.items()}


def _grid(mask: MaskedClip, x: Tensor, same: bool) -> tuple[NDArray[np.float64], str, frozenset[int]]:
    """(S, V) share hidden of one clip's persons, what S counts, and the joints that a mask of tokens never has."""
    clip = (x if mask.clip is None else mask.clip)[0].cpu()
    there = clip.ne(0).any(0).any(0).any(0)  # (M,)
    gone = hidden(mask, clip)[..., there].double().mean(2)  # (T, V)
    if mask.tokens is not None:
        steps = mask.tokens.shape[1]
        return gone.view(steps, -1, gone.shape[1]).mean(1).numpy(), "segment", frozenset(mask.dropped_joints)
    if same:
        return gone.numpy(), "frame", frozenset()
    place = torch.arange(FRAMES) * len(gone) // FRAMES
    return gone[place].numpy(), f"place in the clip, of {FRAMES}", frozenset()


def _rates(name: str, found: list[tuple[NDArray[np.float64], str, frozenset[int]]]) -> Rates:
    grids, units, without = zip(*found, strict=True)
    return Rates(name, np.mean(grids, axis=0), units[0], len(grids), without[0])
