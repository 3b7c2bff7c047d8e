"""Preprocess a caller's clips for one encoder: its joints, gaps, frame rate, units and recipe, up to a batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.data.clip import EmptyClip, RawClip
from skelssl.data.custom.clean import (
    GapFreeClip,
    as_clip,
    at_rate,
    check_joints,
    in_metres,
    in_the_plane,
    two_persons,
    without_gaps,
)
from skelssl.data.poses import Poses
from skelssl.data.recipes import RecipeConfig
from skelssl.pretrained.attributes import Pretrained
from skelssl.skeleton.layout import Layout, load_layout
from skelssl.skeleton.mapping import joint_map


@dataclass(frozen=True)
class Ready:
    """A clip as the encoder's recipe store would hold it."""

    x: NDArray[np.float32]  # (T, M=2, V, 3) after the recipe
    absent: tuple[int, ...]  # joints that the encoder must ignore


class Preprocessor:
    """The preprocessing of clips for one encoder; it counts what a caller should be warned of."""

    def __init__(self, encoder: nn.Module) -> None:
        about = Pretrained.of(encoder).about
        self.layout: str = about["layout"]
        self.body = load_layout(self.layout)
        self.stages = RecipeConfig.parse(about["recipe"])
        self.recipe = self.stages.build(self.layout)
        self.bones, self.confident = about["stream"] == "bone", about.get("coordinates") == "xyc"
        self.flat, self.crowded = 0, 0

    def ready(self, clip: Any, where: str, layout: str | None, fps: float | None, unit: str | None) -> Ready:
        """Apply everything that comes before the view to a clip; raises UserError for one that cannot be used."""
        named = layout or (clip.layout if isinstance(clip, Poses) else self.layout)
        own = as_clip(clip, where, named, fps, unit, flat_unit="auto" if self.confident else "px")
        body = load_layout(named)
        check_joints(own, body)
        if self.confident:
            own = in_the_plane(own, confidence=own.x.shape[-1] == 3 and not isinstance(clip, Poses))
        filled, more = two_persons(without_gaps(own))
        self.crowded += more > 0
        filled = at_rate(filled, own.fps)
        if not self.confident:  # the recipe scales such clips itself
            filled = in_metres(filled, own.unit, body, where)
        x, seen, known = self._mapped(filled, body)
        absent = self._absent(known, where)
        x = self._channels(x, seen)
        try:
            return Ready(self.stages.apply(RawClip.of_persons(where, -1, x), self.recipe), absent)
        except EmptyClip as error:
            raise UserError(
                f"{where}: {error} ({error.code}), expected a clip that recipe {self.stages.name} can use"
            ) from error

    def _mapped(
        self, clip: GapFreeClip, body: Layout
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Return positions (T, M, V, C), confidence (T, M, V) and what was ever seen (M, V) of the encoder's joints."""
        if body == self.body:
            return clip.x, clip.seen, clip.known
        change = joint_map(body, self.body)
        held = (clip.there[..., None] & clip.known).astype(np.float32)
        x, held = change.apply(clip.x, held)
        known: NDArray[np.bool_] = np.any(held > 0, axis=0)
        return x, change.apply(clip.x, clip.seen)[1], known

    def _absent(self, known: NDArray[np.bool_], where: str) -> tuple[int, ...]:
        """Return the joints that one of the persons lacks; of bones also those that end in such a joint."""
        lost: NDArray[np.bool_] = np.logical_not(np.all(known, axis=0))
        about = [v for point in self.recipe.turns_about for v in self.body.point(point)]
        if needed := [self.body.joints[v] for v in about if lost[v]]:
            raise UserError(
                f"{where}: found no {needed[0]}, expected it to be seen: recipe {self.stages.name} turns clips about it"
            )
        if self.bones:
            lost = lost | lost[list(self.body.parents)]
        return tuple(np.flatnonzero(lost).tolist())

    def _channels(self, x: NDArray[np.float32], seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (T, M, V, 3): unchanged, with confidence, or flat in the plane of the image."""
        if self.confident:
            return np.concatenate([x, seen[..., None]], -1)
        if x.shape[-1] == 3:
            return x
        self.flat += 1
        return np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))

    def warn(self) -> None:
        """Warn of flat clips and of persons left out."""
        if self.flat:
            warnings.warn(
                f"{self.flat} clips are 2-D and the encoder was trained on 3-D: their bodies lie flat, at z = 0",
                UserWarning,
                stacklevel=3,
            )
        if self.crowded:
            warnings.warn(
                f"{self.crowded} clips show more than two persons: the two who move most are kept",
                UserWarning,
                stacklevel=3,
            )


def collate(clips: Sequence[NDArray[np.float32]], index: Sequence[int]) -> Batch:
    """Collate clips (T, M, V, 3) into one Batch, zero-padded to the longest; their label is -1."""
    x = np.zeros((len(clips), max(map(len, clips)), *clips[0].shape[1:]), np.float32)
    for n, clip in enumerate(clips):
        x[n, : len(clip)] = clip
    return Batch(
        x=torch.from_numpy(x).permute(0, 4, 1, 3, 2),
        frames=torch.tensor([len(clip) for clip in clips]),
        label=torch.full((len(clips),), -1),
        index=torch.tensor(index),
    )
