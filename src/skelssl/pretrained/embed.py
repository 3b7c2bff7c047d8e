"""``skelssl.embed``: a caller's clips through an encoder's own recipe and test view, as evaluation does it."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

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
from skelssl.data.custom.read import read_clips
from skelssl.data.poses import Poses
from skelssl.data.recipes import RecipeConfig
from skelssl.pretrained.features import extract
from skelssl.pretrained.load import load_encoder
from skelssl.skeleton.layout import Layout, load_layout
from skelssl.skeleton.mapping import joint_map


def embed(
    clips: Any,
    encoder: nn.Module | str | Path,
    layout: str | None = None,
    fps: float | None = None,
    *,
    unit: str | None = None,
    batch: int = 256,
    device: str | torch.device | None = None,
    precision: str = "fp32",
) -> NDArray[np.float32]:
    """Features of clips, (N, D) float32, in the order of the clips.

    A clip is an array (T, V, C) or (T, M, V, C) of joint positions with C = 2 or 3, or a ``Poses``; ``clips`` is one of
    them or a list, each of a length of its own. NaN is what was not seen, all zeros is a person who is not there. Each
    clip is mapped to the joints of the encoder, its gaps are interpolated in time, and it passes the encoder's recipe
    and its deterministic test view as in an evaluation; several views of a clip are averaged. Joints that the encoder
    has and the clip lacks are left out of the encoder, for all persons of the clip. Of more than two persons those two
    stay who move most.

    Args:
        clips: one clip, a list of them, a mapping from names, which errors then use, to clips, or the path of a file or
            folder of clips.
        encoder: of ``load_encoder``, or a path for it.
        layout: of the clips, a name (``mediapipe33``) or a ``.yaml`` file; the encoder's own by default.
        fps: frames a second of the clips, which are resampled to 30, the rate of the data sets; none: they have it.
        unit: ``m`` (3-D arrays by default), ``cm`` or ``mm``; ``px`` (2-D arrays by default: x right and y down, as
            images count) or ``auto`` scale each clip so that its torso, spine_base to spine_shoulder, has a median
            length of 0.46 m. Axes are otherwise those of NTU RGB+D: x to the left as the camera sees it, y up, z away
            from the camera. To an encoder of x, y and confidence 2-D arrays go as its training clips did, unturned.
        batch: clips at a time.
        device: where to compute; by default where the encoder is. It goes back there afterwards.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: wrong shapes, empty clips, an unknown layout or unit, clips that lack what the recipe turns about.

    >>> import numpy, skelssl
    >>> from skelssl.pretrained.load import build_encoder
    >>> from skelssl.pretrained.foreign import foreign_about
    >>> encoder = build_encoder(foreign_about("pstl", encoder={"hidden": 2}))  # or load_encoder("outputs/pstl/.../RUN")
    >>> walk, wave = numpy.random.default_rng(0).normal(size=(2, 40, 25, 3))
    >>> skelssl.embed([walk, wave[:25]], encoder, fps=25).shape
    (2, 32)
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UserError(f"batch: found {batch!r}, expected a whole number of at least 1")
    encoder = encoder if isinstance(encoder, nn.Module) else load_encoder(encoder)
    entry = Entry(encoder)
    ready = [entry.ready(clip, where, layout, fps, unit) for where, clip in named_clips(clips)]
    entry.warn()
    out: NDArray[np.float32] | None = None
    with moved(encoder, device) as place:
        for absent, rows in _by_absent(ready).items():
            batches = (collate([ready[i].x for i in part], part) for part in _parts(rows, batch))
            view = cast(Any, encoder).view["test"]
            found = extract(encoder, view, batches, device=place, precision=precision, ignore=absent)
            features = found.averaged().x[:, 0].cpu().numpy()
            out = np.empty((len(ready), features.shape[1]), np.float32) if out is None else out
            out[found.index.cpu().numpy()] = features
    assert out is not None
    return out


def named_clips(clips: Any, place: str = "clips[{}]") -> list[tuple[str, Any]]:
    """The clips and what each is called, by its ``place`` if it has no name; raises UserError where there is none."""
    if isinstance(clips, str | Path):
        clips = read_clips(clips)
    if isinstance(clips, Mapping):
        named = [(str(name), clip) for name, clip in clips.items()]
    else:
        alone = isinstance(clips, np.ndarray | torch.Tensor | Poses)
        if not alone and not isinstance(clips, Sequence):
            raise UserError(f"clips: found {type(clips).__name__}, expected an array, a list, a mapping or a path")
        named = [
            (clip.name if isinstance(clip, Poses) else place.format(i), clip)
            for i, clip in enumerate([clips] if alone else clips)
        ]
    if not named:
        raise UserError("clips: found none, expected at least one")
    return named


@dataclass(frozen=True)
class Ready:
    """A clip as the encoder's store would hold it."""

    x: NDArray[np.float32]  # (T, M=2, V, 3) after the recipe
    absent: tuple[int, ...]  # joints that the encoder must leave out


class Entry:
    """The way of clips into one encoder; it remembers what a caller should know about them."""

    def __init__(self, encoder: nn.Module) -> None:
        if not hasattr(encoder, "about"):
            raise UserError(f"encoder: found {type(encoder).__name__}, expected what skelssl.load_encoder gives")
        about: Mapping[str, Any] = cast(Any, encoder).about
        self.layout: str = about["layout"]
        self.body = load_layout(self.layout)
        self.stages = RecipeConfig.parse(about["recipe"])
        self.recipe = self.stages.build(self.layout)
        self.bones, self.confident = about["stream"] == "bone", about.get("coordinates") == "xyc"
        self.flat, self.crowded = 0, 0

    def ready(self, clip: Any, where: str, layout: str | None, fps: float | None, unit: str | None) -> Ready:
        """One clip through everything that comes before the view; raises UserError for one that cannot be used."""
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
        """Positions (T, M, V, C), confidence (T, M, V) and what was ever seen (M, V) of the encoder's joints."""
        if body == self.body:
            return clip.x, clip.seen, clip.known
        change = joint_map(body, self.body)
        held = (clip.there[..., None] & clip.known).astype(np.float32)
        x, held = change.apply(clip.x, held)
        known: NDArray[np.bool_] = np.any(held > 0, axis=0)
        return x, change.apply(clip.x, clip.seen)[1], known

    def _absent(self, known: NDArray[np.bool_], where: str) -> tuple[int, ...]:
        """Joints that one of the persons lacks; of bones also those that end in such a joint."""
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
        """(T, M, V, 3): as it is, with confidence, or flat in the plane of the image."""
        if self.confident:
            return np.concatenate([x, seen[..., None]], -1)
        if x.shape[-1] == 3:
            return x
        self.flat += 1
        return np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))

    def warn(self) -> None:
        """One sentence each for flat clips and for persons left out."""
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


def _by_absent(ready: Sequence[Ready]) -> dict[tuple[int, ...], list[int]]:
    """Which clips lack the same joints: an encoder leaves out joints of a whole batch."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, clip in enumerate(ready):
        groups[clip.absent].append(i)
    return groups


def _parts(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def collate(clips: Sequence[NDArray[np.float32]], index: Sequence[int]) -> Batch:
    """Clips (T, M, V, 3) as one Batch, zero-padded to the longest; their label is -1."""
    x = np.zeros((len(clips), max(map(len, clips)), *clips[0].shape[1:]), np.float32)
    for n, clip in enumerate(clips):
        x[n, : len(clip)] = clip
    return Batch(
        x=torch.from_numpy(x).permute(0, 4, 1, 3, 2),
        frames=torch.tensor([len(clip) for clip in clips]),
        label=torch.full((len(clips),), -1),
        index=torch.tensor(index),
    )


@contextmanager
def moved(encoder: nn.Module, device: str | torch.device | None) -> Iterator[torch.device]:
    """The encoder on ``device`` inside, afterwards where it was; yields the device, or raises UserError for none."""
    home = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    try:
        place = home if device is None else torch.device(device)
        encoder.to(place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device: found {device!r}, expected one that this machine has ({str(error).splitlines()[0]})"
        ) from error
    try:
        yield place
    finally:
        encoder.to(home)
