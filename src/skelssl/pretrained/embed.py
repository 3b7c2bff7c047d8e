"""``skelssl.embed``: encode a caller's clips with an encoder's recipe and test view, as an evaluation does.

>>> import numpy, skelssl
>>> from skelssl.pretrained.load import build_encoder
>>> from skelssl.pretrained.foreign import foreign_about
>>> encoder = build_encoder(foreign_about("pstl", encoder={"hidden": 2}))  # or load_encoder("outputs/pstl/.../RUN")
>>> walk, wave = numpy.random.default_rng(0).normal(size=(2, 40, 25, 3))
>>> skelssl.embed([walk, wave[:25]], encoder, fps=25).shape
(2, 32)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelssl.core.errors import UserError
from skelssl.data.custom.read import read_clips
from skelssl.data.poses import Poses
from skelssl.pretrained.attributes import Pretrained
from skelssl.pretrained.features import extract
from skelssl.pretrained.load import load_encoder
from skelssl.pretrained.preprocess import Preprocessor, Ready, collate


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
    """Return the features (N, D) float32 of clips, in their order, as an evaluation computes them.

    Each clip is mapped to the encoder's joints, its gaps are interpolated in time, and it passes the encoder's recipe
    and test view; several views of a clip are averaged. Of more than two persons the two that move most are kept.
    Joints that a clip lacks are ignored by the encoder, for all persons of the clip.

    Args:
        clips: an array (T, V, C) or (T, M, V, C) of joint positions with C = 2 or 3, or a ``Poses``; a list of them, of
            any lengths; a mapping from names, which errors then use, to clips; or the path of a file or folder of
            clips. NaN is a joint that was not seen, an absent person is all zeros.
        encoder: of `load_encoder`, or a path for it.
        layout: of the clips, a name (``mediapipe33``) or a ``.yaml`` file; by default the encoder's.
        fps: frames per second of the clips, which are resampled to 30 as in the datasets; None: they have 30.
        unit: ``m`` (default for 3-D), ``cm`` or ``mm``, in the axes of NTU RGB+D: x left as the camera sees it, y up, z
            away from the camera. ``px`` (default for 2-D: x right, y down) and ``auto`` scale each clip to a median
            torso, spine_base to spine_shoulder, of 0.46 m. An encoder of x, y and confidence takes 2-D clips unrotated.
        batch: clips at a time.
        device: where to compute, by default where the encoder is, which returns there afterwards.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: wrong shapes, empty clips, an unknown layout or unit, clips without the joints a recipe turns about.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UserError(f"batch: found {batch!r}, expected a whole number of at least 1")
    encoder = encoder if isinstance(encoder, nn.Module) else load_encoder(encoder)
    preprocess = Preprocessor(encoder)
    ready = [preprocess.ready(clip, where, layout, fps, unit) for where, clip in named_clips(clips)]
    preprocess.warn()
    with moved(encoder, device) as place:
        return _encode(encoder, ready, batch, place, precision)


def _encode(
    encoder: nn.Module, ready: Sequence[Ready], batch: int, device: torch.device, precision: str
) -> NDArray[np.float32]:
    """Encode clips, group by group of those that lack the same joints; returns features (N, D) in their order."""
    view, out = Pretrained.of(encoder).view["test"], None
    for absent, rows in _by_absent(ready).items():
        parts = (rows[start : start + batch] for start in range(0, len(rows), batch))
        batches = (collate([ready[i].x for i in part], part) for part in parts)
        found = extract(encoder, view, batches, device=device, precision=precision, ignore=absent)
        features = found.averaged().x[:, 0].cpu().numpy()
        out = np.empty((len(ready), features.shape[1]), np.float32) if out is None else out
        out[found.index.cpu().numpy()] = features
    assert out is not None
    return out


def named_clips(clips: Any, place: str = "clips[{}]") -> list[tuple[str, Any]]:
    """Return (name, clip) pairs, unnamed clips called by their ``place``; raises UserError where there is no clip."""
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


def _by_absent(ready: Sequence[Ready]) -> dict[tuple[int, ...], list[int]]:
    """Group the indices of clips that lack the same joints: an encoder ignores joints of a whole batch."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, clip in enumerate(ready):
        groups[clip.absent].append(i)
    return groups


@contextmanager
def moved(encoder: nn.Module, device: str | torch.device | None) -> Iterator[torch.device]:
    """Move the encoder to ``device`` and back afterwards; yields the device, or raises UserError if there is none."""
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
