"""Derive and read the recipe store: one recipe's arrays of one dataset, in memory maps that all ranks share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rich.progress import track

from skelssl.core.errors import UserError
from skelssl.core.files import NpyWriter, atomic_folder, check_space, locked, read_json, remove_stale, write_json
from skelssl.data.batch import Batch
from skelssl.data.clip import EmptyClip
from skelssl.data.parsed import ParsedStore
from skelssl.data.recipes import RecipeConfig
from skelssl.data.recipes.tracks import PERSONS
from skelssl.skeleton.layout import load_layout


class RecipeStore:
    """The clips of a dataset after one recipe, opened for reading.

    Clip i is ``x[offsets[i]:offsets[i + 1]]``, (T, M, V, 3) float32: x, y, z in m, or x, y and confidence in ``xyc``.

    Args:
        folder: ``<data_root>/<dataset>/v1/recipes/<recipe id>``
        recipe: the recipe that the store must be of

    Raises:
        UserError: for a store of another recipe, or a damaged one
    """

    def __init__(self, folder: Path, recipe: RecipeConfig) -> None:
        self.folder = folder
        about = read_json(folder / "recipe.json")
        if about["recipe"] != recipe.parameters:
            raise UserError(
                f"{folder}: found a store of recipe {about['recipe']}, expected {recipe.parameters}; "
                "delete the folder to derive it again"
            )
        self.offsets: NDArray[np.int64] = _map(folder / "offsets.npy")
        self.x: NDArray[np.float32] = _map(folder / "x.npy")
        if len(self.x) != self.offsets[-1]:
            raise UserError(
                f"{folder / 'x.npy'}: found {len(self.x)} frames, expected {self.offsets[-1]}; delete the folder"
            )
        self.names: list[str] = about["names"]
        self.labels = np.array(about["labels"], np.int64)
        self.facts = {key: np.array(values, np.int64) for key, values in about["facts"].items()}
        self.layout: str = about["layout"]
        self.coordinates, self.flat = recipe.coordinates, recipe.flat
        self.skipped: dict[str, str] = about["skipped"]
        self.fingerprint: str = about["fingerprint"]
        self.parsed: str = about["parsed"]
        self._row = {name: i for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of the clips called ``names``, without those in ``skipped``.

        Raises:
            UserError: for a name that is neither in the store nor skipped
        """
        unknown = next((n for n in names if n not in self._row and n not in self.skipped), None)
        if unknown is not None:
            raise UserError(
                f"{self.folder}: found no clip {unknown}, expected every clip of the split; prepare it again"
            )
        return np.array([self._row[n] for n in names if n in self._row], np.int64)

    def gather(self, rows: NDArray[np.int64], pin: bool = False) -> Batch:
        """Return the clips of ``rows`` (N,) as one Batch, zero-padded to the longest; ``pin``: in pinned memory."""
        start, frames = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        shape = (len(rows), int(frames.max(initial=0)), *self.x.shape[1:])
        x = torch.zeros(shape, pin_memory=True) if pin else torch.from_numpy(np.zeros(shape, np.float32))
        for clip, first, t in zip(x.numpy(), start, frames, strict=True):
            clip[:t] = self.x[first : first + t]
        facts = (torch.from_numpy(a) for a in (frames, self.labels[rows], rows))
        # (N, T, M, V, 3) -> (N, 3, T, V, M), a view
        return Batch(x.permute(0, 4, 1, 3, 2), *(fact.pin_memory() if pin else fact for fact in facts))


def _map(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read (D32, {error}); delete its folder to derive the store again"
        ) from error


def open_store(parsed_folder: Path, recipe: RecipeConfig) -> RecipeStore:
    """Open the store of ``recipe`` beside the parsed store; derive it if it is missing or of older parsed data.

    Several processes may call this at once: one derives, and reports it, while the others wait.

    Raises:
        UserError: if the parsed store does not match the recipe, or the store cannot be read or written
    """
    folder = parsed_folder.parent / "recipes" / recipe.id
    parsed = ParsedStore(parsed_folder)
    with locked(folder.parent / f"{recipe.id}.lock"):
        if folder.exists():
            store = RecipeStore(folder, recipe)
            if store.parsed == parsed.fingerprint:
                return store
        print(f"deriving recipe {recipe.name} of {len(parsed)} clips -> {folder}", flush=True)
        remove_stale(folder)
        try:
            derive(parsed, recipe, folder)
            _note_in_report(parsed_folder.parent / "report.json", RecipeStore(folder, recipe))
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error}), expected a data_root with room (D33)") from error
    return RecipeStore(folder, recipe)


def _note_in_report(path: Path, store: RecipeStore) -> None:
    """Add the clips that a recipe could not use, with their codes, to the report of the dataset."""
    report = read_json(path) if path.exists() else {}
    report.setdefault("recipes", {})[store.folder.name] = {"clips": len(store), "skipped": store.skipped}
    write_json(path, report)


def about_digest(names: Sequence[str], lengths: ArrayLike, labels: ArrayLike) -> bytes:
    """Return the bytes that follow those of ``x`` in the hash for the store's fingerprint."""
    return "\n".join(names).encode() + np.array([lengths, labels], "<i8").tobytes()


def derive(parsed: ParsedStore, recipe: RecipeConfig, folder: Path) -> None:
    """Apply the recipe to every parsed clip, one at a time, and publish the store with one rename."""
    stages = recipe.build(parsed.layout)
    recipe.check_form(parsed.form, parsed.arguments, parsed.folder.parent)
    # An upper bound: recipes that resample write fewer frames than the clips have.
    joints = sum(parsed.index.n_frames) * PERSONS * len(load_layout(parsed.layout).joints)
    check_space(folder.parent, 12 * joints, f"for recipe {recipe.name}")
    kept: list[int] = []
    lengths: list[int] = []
    skipped: dict[str, str] = {}
    digest = hashlib.sha256()
    with atomic_folder(folder) as temporary:
        writer: NpyWriter | None = None
        for i, clip in enumerate(track(parsed.clips(), recipe.name, len(parsed), transient=True)):
            try:
                x = recipe.apply(clip, stages)
            except EmptyClip as error:
                skipped[clip.name] = f"{error.code}: {error}"
                continue
            writer = writer or NpyWriter(temporary / "x.npy", "<f4", x.shape[1:])
            digest.update(writer.append(x))
            kept.append(i)
            lengths.append(len(x))
        if writer is None:
            raise UserError(f"{folder}: recipe {recipe.name} could use none of the {len(parsed)} parsed clips")
        writer.close()
        names = [parsed.names[i] for i in kept]
        digest.update(about_digest(names, lengths, parsed.labels[kept]))
        np.save(temporary / "offsets.npy", np.cumsum([0, *lengths], dtype=np.int64))
        write_json(temporary / "recipe.json", {
            "recipe": recipe.parameters, "layout": parsed.layout, "parsed": parsed.fingerprint,
            "fingerprint": digest.hexdigest(), "names": names, "labels": parsed.labels[kept].tolist(),
            "facts": {key: values[kept].tolist() for key, values in parsed.facts.items()}, "skipped": skipped,
        })  # fmt: skip
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
