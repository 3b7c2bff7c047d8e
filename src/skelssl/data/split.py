"""Read and write training and test splits as lists of names: ``splits/<split>.json`` beside the parsed store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelssl.core.files import read_json, write_json


@dataclass(frozen=True, slots=True)
class ClipTable:
    """N clips without their bodies: the input of a split rule."""

    names: Sequence[str]
    labels: NDArray[np.int64]  # (N,) 0-based class
    facts: Mapping[str, NDArray[np.int64]]  # each of FACTS (N,); -1 where unknown


@dataclass(frozen=True, slots=True)
class Split:
    """Names of the training and the test clips."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def read_splits(folder: Path) -> dict[str, Split]:
    """Load every split in ``folder``, by name."""
    files = sorted(folder.glob("[!.]*.json"))
    return {file.stem: Split(**{side: tuple(names) for side, names in read_json(file).items()}) for file in files}


def write_splits(splits: Mapping[str, Split], folder: Path) -> None:
    """Write one JSON file per split: ``{"train": [names], "test": [names]}``."""
    for name, split in splits.items():
        write_json(folder / f"{name}.json", {"train": split.train, "test": split.test})
