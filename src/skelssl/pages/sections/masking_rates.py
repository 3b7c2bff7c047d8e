"""Masking rates: how often the method masks each joint and each frame or segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skelssl.data.module import Dataset
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip, hidden, untouched
from skelssl.pages.figures.mask_rates import MaskingRates, masking_rates_figure
from skelssl.pages.run import OpenedRun, Section
from skelssl.pages.sections.liveliest import pose_of

CLIPS, DRAWS = 64, 4  # training clips, and masks of each
POSITIONS = 20  # relative positions at which clips of different lengths are compared


def masking_rates_section(run: OpenedRun) -> Section:
    """Draw the masked fraction by joint and by frame or segment."""
    found = measure_masking_rates(run.method, run.data, run.seed)
    if not found:
        return Section("", "<p>This method does not mask its input, so there are no masking rates.</p>")
    caption = (
        f"{DRAWS} masks for each of {next(iter(found.values())).draws // DRAWS} training clips, drawn on the full "
        "clips; absent persons are excluded. Colours span the minimum to the maximum of each picture."
    )
    return Section(caption, masking_rates_figure(list(found.values()), run.body, pose_of(run)))


def measure_masking_rates(method: Method, data: Dataset, seed: int) -> Mapping[str, MaskingRates]:
    """Return the masking rates of each named mask, over ``CLIPS`` training clips with ``DRAWS`` masks each."""
    batch = data.store.gather(data.train[:: -(-len(data.train) // CLIPS)])
    generator, grids = torch.Generator().manual_seed(seed), dict[str, list[Any]]()
    equally_long = bool((batch.frames == batch.frames[0]).all())
    for i in range(len(batch)):
        x = batch.x[i : i + 1, :, : int(batch.frames[i])]
        for _ in range(DRAWS):
            with untouched(method):
                clips = method.visualize(x, generator)
            for mask in clips:
                if mask.name and x.any():
                    grids.setdefault(mask.name, []).append(_grid(mask, x, equally_long))
    return {name: _mean(name, found) for name, found in grids.items()}


def _grid(mask: MaskedClip, x: Tensor, equally_long: bool) -> tuple[NDArray[np.float64], str, frozenset[int]]:
    """Return the masked fraction (S, V) over the persons of a clip, the unit of S, and the joints without tokens."""
    clip = (x if mask.clip is None else mask.clip)[0].cpu()
    present = clip.ne(0).any(0).any(0).any(0)  # (M,)
    rate = hidden(mask, clip)[..., present].double().mean(2)  # (T, V)
    if mask.tokens is not None:
        segments = mask.tokens.shape[1]
        return rate.view(segments, -1, rate.shape[1]).mean(1).numpy(), "segment", frozenset(mask.dropped_joints)
    if equally_long:
        return rate.numpy(), "frame", frozenset()
    at = torch.arange(POSITIONS) * len(rate) // POSITIONS
    return rate[at].numpy(), f"position in the clip, of {POSITIONS}", frozenset()


def _mean(name: str, found: list[tuple[NDArray[np.float64], str, frozenset[int]]]) -> MaskingRates:
    grids, units, without = zip(*found, strict=True)
    return MaskingRates(name, np.mean(grids, axis=0), units[0], len(grids), without[0])
