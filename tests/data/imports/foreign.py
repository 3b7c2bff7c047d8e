"""Writes clips in the layouts of other people's code, as their scripts do."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.data.ntu.source import NTU, parse_name
from skelssl.data.parsed import ParsedStore
from skelssl.data.recipes import RecipeConfig

FRAMES = 300
SPLIT_FACTS = {"xsub": "subject", "xview": "camera", "xset": "setup"}


def published(store: ParsedStore, recipe: str, **arguments: Any) -> dict[str, np.ndarray]:
    """Each clip as the reference's files hold it."""
    stages = RecipeConfig.parse({"name": recipe, **arguments}).build()
    return {store.names[i]: stages.published(store.clip(i)) for i in range(len(store))}


def labels(names: Iterable[str]) -> list[int]:
    return [parse_name(name)["action"] - 1 for name in names]


def sides(names: Iterable[str], split: str = "xsub", dataset: str = "ntu60", by_id: bool = False) -> list[list[str]]:
    """Training and test names; ``by_id``: performer after performer, as CTR-GCN and MAMP concatenate them."""
    fact, train = SPLIT_FACTS[split], NTU(dataset).facts["splits"][split]["train"]
    ids = sorted({parse_name(name)[fact] for name in names}) if by_id else [None]
    ordered = [n for i in ids for n in sorted(names) if i is None or parse_name(n)[fact] == i]
    return [[n for n in ordered if (parse_name(n)[fact] in train) is side] for side in (True, False)]


def padded(clips: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 300, 150) of (T, 150) each."""
    x = np.zeros((len(clips), FRAMES, 150), np.float32)
    for i, clip in enumerate(clips):
        x[i, : len(clip)] = clip
    return x


def npz_arrays(
    clips: dict[str, np.ndarray], classes: int = 60, split: str = "xsub", dataset: str = "ntu60"
) -> dict[str, np.ndarray]:
    train, test = sides(clips, split, dataset, by_id=True)
    one_hot = np.eye(classes)
    return {
        "x_train": padded([clips[n] for n in train]), "y_train": one_hot[labels(train)],
        "x_test": padded([clips[n] for n in test]), "y_test": one_hot[labels(test)],
    }  # fmt: skip


def write_label(path: Path, names: Sequence[str], *, protocol: int | None = None, ending: str = ".skeleton") -> None:
    path.write_bytes(pickle.dumps(([n + ending for n in names], labels(names)), protocol))


def write_parts(folder: Path, kind: str, clips: dict[str, np.ndarray], split: str = "xsub") -> None:
    """``{train,val}_{kind}.npy`` and their label pickles."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, names in zip(("train", "val"), sides(clips, split), strict=True):
        np.save(folder / f"{part}_{kind}.npy", np.stack([clips[n] for n in names]).astype(np.float32))
        write_label(folder / f"{part}_label.pkl", names)


def by_place(store: ParsedStore, places: int) -> dict[str, np.ndarray]:
    """(T, places, 25, 3) of each raw clip: the m-th body that a frame lists, ids ignored."""
    out = {}
    for i in range(len(store)):
        clip = store.clip(i)
        x = np.zeros((clip.n_frames, places, 25, 3), np.float32)
        for f, (first, last) in enumerate(zip(clip.frame_ptr[:-1], clip.frame_ptr[1:], strict=True)):
            for m, row in enumerate(range(first, min(last, first + places))):
                x[f, m] = clip.bodies[row]
        out[clip.name] = x
    return out


def annotations(clips: dict[str, np.ndarray], split: str = "xsub") -> dict[str, Any]:
    train, test = sides(clips, split)
    notes = [
        {"frame_dir": n, "label": labels([n])[0], "keypoint": x, "total_frames": x.shape[1]} for n, x in clips.items()
    ]
    return {"split": {f"{split}_train": train, f"{split}_val": test}, "annotations": notes}
