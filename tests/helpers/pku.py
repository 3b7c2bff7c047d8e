"""Small PKU-MMD recordings, label files and split lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def persons(frames: int, seed: int = 0, second: bool = True) -> np.ndarray:
    """(T, 2, 25, 3) float32 with 6 decimals; without ``second`` the second person is absent."""
    x = np.random.default_rng(seed).normal(0, 1, (frames, 2, 25, 3)).round(6).astype(np.float32)
    x[:, 1] *= second
    return x


def text(x: np.ndarray, newline: str = "\n") -> bytes:
    """A recording as its text: a line per frame, and a blank before every line but the first."""
    lines = [" ".join(f"{value:.6f}" for value in frame) for frame in x.reshape(len(x), -1)]
    return (f"{newline} ".join(lines) + newline).encode()


def write(folder: Path, labels: Mapping[str, str], frames: int = 30) -> dict[str, np.ndarray]:
    """``skeleton/<stem>.txt`` and ``label/<stem>.txt`` for each stem; returns the recordings."""
    recordings = {stem: persons(frames, seed) for seed, stem in enumerate(sorted(labels))}
    for stem, x in recordings.items():
        put(folder / "skeleton" / f"{stem}.txt", text(x))
        put(folder / "label" / f"{stem}.txt", labels[stem].encode())
    return recordings


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def split_list(train: Sequence[str], test: Sequence[str], end: str = "\n") -> bytes:
    """A list as the authors write it, trailing commas and spelling included."""
    sections = ("Training videos: ", ", ".join([*train, ""]), "Validataion videos: ", ", ".join([*test, ""]))
    return "".join(line + end for line in sections).encode()
