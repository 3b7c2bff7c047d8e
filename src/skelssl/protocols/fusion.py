"""Fusion: weighted sums of the scores that several runs gave the same test clips, joined by clip name.

AimCLR adds the raw outputs of the linear layers of joint, bone and motion with weights 0.6, 0.6 and 0.4; PSTL builds on
its code, and its own weights could not be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.results.scores import Scores


@dataclass(frozen=True)
class Part:
    """What one run said: rows of a ``scores.npz``, in the order of the names."""

    where: Path
    names: NDArray[np.str_]  # (N,) ascending
    labels: NDArray[np.int64]  # (N,)
    logits: NDArray[np.float32]  # (N, classes)
    random_init: NDArray[np.float32] | None  # (N, classes), of the random initialisation where it was evaluated


def read_part(folder: Path) -> Part:
    """The scores of one evaluation; raises UserError where they are gone."""
    path = folder / "scores.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            order = np.argsort(file["names"])
            random = file["random_init_logits"][order] if "random_init_logits" in file else None
            names, labels, logits = (file[key][order] for key in ("names", "labels", "logits"))
            return Part(folder, names, labels, logits, random)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected scores; rerun=true makes them anew") from error


def fuse(parts: Sequence[Part], weights: Sequence[float]) -> tuple[Scores, Scores | None]:
    """Σ_r w_r · logits_r of each clip, and the same of the random initialisations where all runs have one.

    Raises UserError unless all parts have the same names, with the same label each, and the same classes.
    """
    for part in parts[1:]:
        _check_alike(parts[0], part)
    label, index = torch.from_numpy(parts[0].labels), torch.arange(len(parts[0].labels))

    def weighted(logits: Sequence[NDArray[np.float32]]) -> Scores:
        total = sum(w * one.astype(np.float64) for w, one in zip(weights, logits, strict=True))
        return Scores(torch.from_numpy(np.asarray(total)).float(), label, index)

    random = [part.random_init for part in parts if part.random_init is not None]
    return weighted([part.logits for part in parts]), weighted(random) if len(random) == len(parts) else None


def _check_alike(first: Part, other: Part) -> None:
    if first.logits.shape[1] != other.logits.shape[1]:
        raise UserError(
            f"checkpoint: found {other.logits.shape[1]} classes in {other.where}, expected the "
            f"{first.logits.shape[1]} of {first.where}"
        )
    if len(alone := np.setxor1d(first.names, other.names)):
        raise UserError(
            f"checkpoint: found {len(alone)} test clips in only one of {first.where} and {other.where} "
            f"(the first is {alone[0]}), expected the same clips in every run"
        )
    if len(odd := np.flatnonzero(first.labels != other.labels)):
        raise UserError(
            f"checkpoint: found {first.names[odd[0]]} with label {other.labels[odd[0]]} in {other.where}, expected "
            f"{first.labels[odd[0]]} as in {first.where}"
        )


def weights_of(asked: Any, by_stream: Mapping[str, float], streams: Sequence[str]) -> list[float]:
    """``weights=`` in the order of the runs; else the published ones of different streams, 1 each for one stream.

    Raises UserError for another number of weights, for what is no finite number, and for a stream without a weight.
    """
    if asked is not None:
        good = isinstance(asked, list) and len(asked) == len(streams) and all(map(_number, asked))
        if not good or not any(asked):
            raise UserError(f"weights: found {asked!r}, expected {len(streams)} numbers, one for each checkpoint")
        return [float(w) for w in asked]
    if len(set(streams)) == 1:
        return [1.0] * len(streams)
    if unknown := [stream for stream in streams if stream not in by_stream]:
        raise UserError(f"weights: found none for stream {unknown[0]}, expected weights=[...], one for each checkpoint")
    return [float(by_stream[stream]) for stream in streams]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def stream_name(streams: Sequence[str]) -> str:
    """What tables call the fused stream: ``3s`` for joint, motion and bone."""
    names = sorted(set(streams))
    return "3s" if sorted(streams) == ["bone", "joint", "motion"] else "+".join(names)
