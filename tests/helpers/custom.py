"""Small sets of a user's own clips on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.data.build.prepare import build_parsed
from skelssl.data.custom.source import Custom
from skelssl.data.parsed import ParsedStore
from skelssl.data.report import Report


def points(frames: int = 9, persons: int = 1, joints: int = 25, seed: int = 0) -> np.ndarray:
    """(T, M, V, 3) of people who stand three metres away."""
    dice = np.random.default_rng(seed)
    return dice.normal((0, 0, 3), 0.4, (frames, persons, joints, 3)).astype(np.float32)


def save(path: Path, x: Any, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, x=x, **more)
    else:
        np.save(path, x)
    return path


def write_index(path: Path, *lines: Mapping[str, Any] | str) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def built(
    tmp_path: Path, raw: Path, source: Custom | None = None, strict: bool | None = False
) -> tuple[ParsedStore, Report]:
    folder = tmp_path / "store" / "parsed"
    report = build_parsed(source or Custom(), [raw], folder, workers=1, strict=strict, progress=False)
    return ParsedStore(folder), report


def sides(tmp_path: Path) -> tuple[list[str], list[str]]:
    split = json.loads((tmp_path / "store" / "splits" / "custom.json").read_text())
    return split["train"], split["test"]


def small_set(root: Path, subjects: int = 3, classes: tuple[str, ...] = ("sit", "walk")) -> Path:
    for c, name in enumerate(classes):
        for s in range(1, subjects + 1):
            save(root / name / f"s{s}.npz", points(seed=10 * c + s)[:, 0], subject=s, camera=1 + s % 2, setup=c)
    return root
