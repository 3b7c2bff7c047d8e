"""Who trains and who tests, as lists of names: ``splits/<split>.json`` beside the parsed store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skelssl.core.files import read_json, write_json
from skelssl.data.source import ClipTable, Source, Split


def all_splits(source: Source, clips: ClipTable) -> dict[str, Split]:
    """Every split of a source over these clips."""
    return {name: source.split(name, clips) for name in source.splits}


def read_splits(folder: Path) -> dict[str, Split]:
    """Every split in ``folder``, by name."""
    files = sorted(folder.glob("[!.]*.json"))
    return {file.stem: Split(**{side: tuple(names) for side, names in read_json(file).items()}) for file in files}


def write_splits(splits: Mapping[str, Split], folder: Path) -> None:
    """Writes one JSON file per split: ``{"train": [names], "test": [names]}``."""
    for name, split in splits.items():
        write_json(folder / f"{name}.json", {"train": split.train, "test": split.test})
