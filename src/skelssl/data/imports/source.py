"""Provide imported arrays as a source; shards, report, splits and resuming come from ``prepare``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.errors import UserError
from skelssl.data.clip import RawClip
from skelssl.data.imports.names import facts_in_name
from skelssl.data.imports.rows import ImportContent, ImportPart, ImportRow
from skelssl.data.ntu.source import NTU
from skelssl.data.report import Report
from skelssl.data.source import BadInput, Entry, Source
from skelssl.data.split import ClipTable, Split


class Imported:
    """The source of one import, with one entry per clip.

    NTU names determine the facts and all splits. Without them clips are called ``train-000001`` and so on, and only the
    splits of the file are available.
    """

    generated = False

    def __init__(self, base: Source, found: ImportContent, *, split: str | None, naming: str) -> None:
        """Collect the rows of an import.

        ``base`` is the original dataset, ``split`` that of the file if known, ``naming`` the origin of the names.
        """
        self.dataset, self.layout, self.class_names = base.dataset, base.layout, list(base.class_names)
        self.base, self.form, self.arguments, self.decode = base, found.form, dict(found.arguments), found.decode
        self.named = isinstance(base, NTU) and all(part.names is not None for part in found.parts)
        self._rows, self._skipped, self._notes = _rows(found), found.skipped, found.notes
        self._train = {} if self.named else _training(found, split)
        self.splits = tuple(base.splits) if self.named else tuple(self._train)
        if not self.splits:
            raise UserError(
                f"import={found.path}: found no name that tells its split, expected dataset="
                f"{' or '.join(f'{base.dataset}_{name}' for name in base.splits)}"
            )

        self.about = _about(found, self, naming)

    def __getstate__(self) -> dict[str, Any]:
        # Workers receive their rows with each call.
        return {**self.__dict__, "_rows": [], "_skipped": (), "_train": {}}

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Return all rows, sorted by name; raise UserError for a name that occurs twice (D18)."""
        report.origin = self.about
        report.notes.extend(self._notes)
        for skip in self._skipped:
            report.skip(skip.name, skip.code, skip.reason)
        rows: list[Entry] = [*self._rows]
        if self.named and isinstance(self.base, NTU):
            rows = self.base.admitted(rows, report)
        rows.sort(key=lambda row: row.name)
        twice = [a.name for a, b in pairwise(rows) if a.name == b.name]
        if twice:
            raise UserError(f"{twice[0]}: found two rows of that name in {rows[0].location} (D18), expected one")
        return rows

    def read(self, entry: Entry) -> list[RawClip]:
        """Return the one clip of a row; raise BadInput."""
        assert isinstance(entry, ImportRow)  # ``entries`` makes no others
        try:
            return [self.decode(entry)]
        except OSError as error:
            raise BadInput("D33", f"cannot be read ({error.strerror or error})") from error

    def split(self, name: str, clips: ClipTable) -> Split:
        """Split by the dataset's rule if clips have names, else as in the file; raise UserError for an unknown name."""
        if name not in self.splits:
            raise UserError(f"split of {self.dataset}: found {name!r}, expected one of {', '.join(self.splits)}")
        if self.named:
            return self.base.split(name, clips)
        train = [clip in self._train[name] for clip in clips.names]
        sides = [tuple(c for c, t in zip(clips.names, train, strict=True) if t is side) for side in (True, False)]
        return Split(*sides)

    def expected(self) -> Mapping[str, Any]:
        """Return the counts of the original dataset."""
        return self.base.expected()


def clip_names(part: ImportPart) -> Sequence[str]:
    """Return the names of a part, generated from the row if there are none."""
    return part.names or [f"{part.side}-{row:06d}" for row in range(1, len(part.blocks) + 1)]


def _training(found: ImportContent, split: str | None) -> dict[str, frozenset[str]]:
    """Return the names of the training clips of each split, for datasets without NTU names."""
    lists = {key.rpartition("_")[0]: names for key, names in found.lists.items() if key.endswith("_train")}
    if lists:
        return {name: frozenset(names) for name, names in lists.items()}
    names = [name for part in found.parts if part.side == "train" for name in clip_names(part)]
    return {split: frozenset(names)} if split else {}


def _about(found: ImportContent, source: Imported, naming: str) -> str:
    counts = " + ".join(f"{len(part.blocks):,} {part.side}".strip() for part in found.parts)
    classes = len(np.unique(np.concatenate([part.labels for part in found.parts])))
    lost = "" if source.named else f"; lost: subjects, cameras, every other split than {', '.join(source.splits)}"
    return (
        f"import {found.path.name}: {found.what} of recipe {found.form}, {counts} clips, {classes} of "
        f"{len(source.class_names)} classes\nsplits {', '.join(source.splits)}; {naming}{lost}"
    )


def _rows(found: ImportContent) -> list[ImportRow]:
    digest = hashlib.sha256()
    for file in found.files:
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    stamp = int(digest.hexdigest()[:15], 16)
    rows = []
    for part in found.parts:
        labels = part.labels.tolist()
        frames = [None] * len(labels) if part.frames is None else part.frames.tolist()
        for name, block, label, count in zip(clip_names(part), part.blocks, labels, frames, strict=True):
            rows.append(ImportRow(name, str(found.path), size=found.text_size(block), stamp=stamp, block=block,
                                  label=label, facts=facts_in_name(name), frames=count))  # fmt: skip
    return rows
