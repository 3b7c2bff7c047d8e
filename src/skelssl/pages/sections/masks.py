"""Masks: test clips under the method's masks, or under its augmentations where it has no masks."""

from __future__ import annotations

import torch
from hydra.utils import instantiate
from torch import Tensor

from skelssl.data.batch import Batch
from skelssl.methods.base import Method
from skelssl.methods.visualize import untouched
from skelssl.pages.clip_figures import mask_players, player_clip
from skelssl.pages.figures.player import PlayerClip, how_to_read, skeleton_player
from skelssl.pages.run import OpenedRun, Section
from skelssl.pages.sections.liveliest import liveliest_clips

SHOWN = 3  # clips, each of another class; and augmentations of a method without masks
NO_MASKS = "This method does not mask its input. It contrasts augmented views of a clip, three of which are drawn here."


def masks_section(run: OpenedRun) -> Section:
    """Draw the clips with the most motion under every mask, or under the pre-training view where there are no masks."""
    rows = {run.named(row): _players(run, row) for row in liveliest_clips(run.data, SHOWN)}
    caption = NO_MASKS
    if _has_masks(run.method):
        clips = [clip for row in rows.values() for clip in row]
        caption = f"Test clips as the encoder sees them during pre-training. {how_to_read(clips)}"
    return Section(f"{caption} Drag to rotate.", skeleton_player(rows, run.body))


def _has_masks(method: Method) -> bool:
    return type(method).visualize is not Method.visualize


def _players(run: OpenedRun, row: int) -> list[PlayerClip]:
    if _has_masks(run.method):
        return players_under_masks(run.method, run.clip(row), run.seed, flat=run.flat)
    return _augmented(run, row, SHOWN)


def players_under_masks(method: Method, x: Tensor, seed: int, *, flat: bool = False) -> list[PlayerClip]:
    """Return a clip (1, 3, T, V, M) under each mask of the method, as ``seed`` draws them."""
    with untouched(method):
        return mask_players(method.visualize(x, torch.Generator().manual_seed(seed)), x, flat=flat)


def _augmented(run: OpenedRun, row: int, draws: int) -> list[PlayerClip]:
    """Return draws of the pre-training view, as joint positions whatever the stream."""
    view = instantiate({**run.config["method"]["view"]["pretrain"], "stream": "joint"}, _convert_="all")
    x, generator = run.clip(row), torch.Generator().manual_seed(run.seed)
    one = torch.zeros(1, dtype=torch.int64)
    batch = Batch(x=x, frames=one + x.shape[2], label=one, index=one)
    clips = torch.cat([view(batch, generator) for _ in range(draws)])[:draws]
    return [player_clip(f"draw {i + 1}", clip[None], flat=run.flat) for i, clip in enumerate(clips)]
