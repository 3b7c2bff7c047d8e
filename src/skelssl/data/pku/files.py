"""Find the recordings, labels and split lists of one part of PKU-MMD in folders of any name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from skelssl.core.errors import UserError
from skelssl.data.pku.text import STEM, looks_like_labels, read_split
from skelssl.data.report import Report
from skelssl.data.roots import TEXT_SUFFIXES, read_bytes, scan
from skelssl.data.source import BadInput, Entry

_LIST = re.compile("cross[-_ ]?(subject|view)", re.IGNORECASE)
_SPLIT_OF = {"subject": "xsub", "view": "xview"}
_CAMERAS = "LMR"
_HEAD = 8192  # bytes that distinguish a recording, whose lines have some 1,400, from labels


@lru_cache
def pku_facts() -> dict[str, Any]:
    """Load the class names, and for each part its numbering, counts and splits."""
    facts: dict[str, Any] = json.loads((files("skelssl.data.pku") / "facts.json").read_text("utf-8"))
    return facts


@dataclass(frozen=True, slots=True)
class PKUPart:
    """Part I (``pku1``) or II (``pku2``): its facts and the names of its recordings."""

    dataset: str

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of this part."""
        facts: Mapping[str, Any] = pku_facts()["benchmarks"][self.dataset]
        return facts

    def numbers(self, stem: str) -> dict[str, int] | None:
        """Return setup, subject (part II) and camera (L M R as 1 2 3), or None for a name that is not of this part."""
        match = re.fullmatch(self.facts["name"], stem)
        if not match:
            return None
        found = match.groupdict()
        return {"camera": 1 + _CAMERAS.index(found.pop("camera")), **{key: int(text) for key, text in found.items()}}

    def check(self, stem: str) -> None:
        """Raise BadInput D21 for a number that no recording of this part has."""
        for key, value in (self.numbers(stem) or {}).items():
            low, high = self.facts["ranges"][key]
            if not low <= value <= high:
                raise BadInput("D21", f"{key} {value} is not in {low}–{high}")


@dataclass(slots=True)
class PKUFiles:
    """The files of one part; recordings and labels have the name of the recording."""

    recordings: list[Entry] = field(default_factory=list)
    labels: list[Entry] = field(default_factory=list)
    lists: list[Entry] = field(default_factory=list)
    other_part: list[str] = field(default_factory=list)  # names of recordings


def find_pku_files(part: PKUPart, roots: Sequence[Path], report: Report) -> PKUFiles:
    """Classify the files by name and content; raise UserError for an invalid root, or if no recording is found."""
    found = PKUFiles()
    for entry in scan(roots, TEXT_SUFFIXES):
        stem = entry.name.partition(".")[0].upper()
        if _LIST.search(entry.name):
            found.lists.append(entry)
        elif part.numbers(stem):
            try:
                part.check(stem)
                kind = found.labels if _holds_labels(entry) else found.recordings
                kind.append(replace(entry, name=stem))
            except BadInput as bad:
                report.skip(stem, bad.code, f"{bad.reason}: {entry}")
        elif STEM.fullmatch(stem):
            found.other_part.append(stem)
            report.skip(stem, "D28", "a file of the other part of PKU-MMD", tolerated=True)
        else:
            report.skip(entry.name, "D21", f"no recording, label or split file: {entry}", tolerated=True)
    if missing := _missing(part, found, roots):
        raise UserError(f"raw={','.join(map(str, roots))}: {missing}")
    return found


def _holds_labels(entry: Entry) -> bool:
    """Return whether a file holds labels, by its content or, if that is ambiguous, by its folder or archive name."""
    told = looks_like_labels(read_bytes(entry, _HEAD))
    folder = PurePath(entry.member or entry.location).parent.name or PurePath(entry.location).stem
    return "label" in folder.lower() if told is None else told


def _missing(part: PKUPart, found: PKUFiles, roots: Sequence[Path]) -> str | None:
    example = part.facts["example"]
    if found.recordings and not found.labels:
        count = len(found.recordings)
        return f"found {count} recordings of {part.dataset} and no label file, expected Label_PKUMMD beside them"
    if found.recordings:
        return None
    if found.other_part:
        return (
            f"found {min(found.other_part)} and other files of the other part alone, expected recordings such as "
            f"{example} (D28): pku1 and pku2 are mixed up"
        )
    packed = [file.name for root in roots if root.is_dir() for file in root.iterdir() if file.suffix in (".7z", ".zip")]
    hint = f"; name the archives in the folder one by one: {','.join(sorted(packed))}" if packed else ""
    return f"found no recording of {part.dataset}, expected files such as {example}.txt{hint}"


def read_lists(part: PKUPart, found: Sequence[Entry], stems: Collection[str], report: Report) -> dict[str, list[str]]:
    """Return the test recordings of each split for which the authors' list is present; notes name the lists in use.

    Raises:
        UserError: if a recording is in neither half of a list (D27), or the only list is of the other part (D28)
    """
    by_split: dict[str, list[Entry]] = {split: [] for split in part.facts["splits"]}
    for entry in sorted(found, key=str):
        if match := _LIST.search(entry.name):
            by_split[_SPLIT_OF[match[1].lower()]].append(entry)
    tests = {}
    for split, entries in by_split.items():
        if entries:
            tests[split] = sorted(_one_list(part, entries, stems, report))
        else:
            report.notes.append(f"{split}: using built-in list")
    return tests


def _one_list(part: PKUPart, entries: Sequence[Entry], stems: Collection[str], report: Report) -> set[str]:
    lists = [(str(entry), *read_split(read_bytes(entry), str(entry))) for entry in entries]
    ours = [(file, train, test) for file, train, test in lists if not (train | test).isdisjoint(stems)]
    if not ours:
        raise UserError(
            f"{lists[0][0]}: found no recording of {part.dataset} in the list, expected names such as "
            f"{part.facts['example']} (D28): the lists of part I and part II are mixed up"
        )
    file, train, test = ours[0]
    for other, *sides in ours[1:]:
        if sides != [train, test]:
            raise UserError(f"{other}: found other lists than in {file}, expected one list for each split")
    if absent := sorted(set(stems) - train - test):
        raise UserError(f"{file}: found {absent[0]} in neither list (D27), expected every recording in one")
    report.notes.append(f"{file}: lists {len(train | test)} recordings, {len((train | test) - set(stems))} not here")
    return test
