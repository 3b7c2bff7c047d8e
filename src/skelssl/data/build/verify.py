"""Verify a prepared dataset (``prepare verify=true``): that it is complete and unchanged since it was written.

Arrays are read from their files in blocks, never through memory maps, so memory does not grow with the dataset.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Protocol, runtime_checkable

import numpy as np
from rich.console import Console
from rich.table import Table

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.data.build.prepare import parsed_folder
from skelssl.data.parsed import POINTERS, ROWS, ParsedStore, content_sha1, fingerprint
from skelssl.data.recipes import RecipeConfig
from skelssl.data.report import Report
from skelssl.data.source import FACTS, BadInput, Source
from skelssl.data.split import ClipTable, Split, read_splits
from skelssl.data.store import RecipeStore, about_digest

_BLOCK = 1 << 24  # bytes
_SHOWN = 3


@runtime_checkable
class NamesTell(Protocol):
    """A source whose clip names contain the facts: subject, camera, setup and replication."""

    def facts_of(self, name: str) -> Mapping[str, int]:
        """Return the value of each fact; raise BadInput for a name of another form."""


@dataclass(slots=True)
class Findings:
    """The results of the checks, and the faults."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)  # what, found, remark
    faults: list[str] = field(default_factory=list)

    def add(self, what: str, found: str, remark: str = "", *, fault: str | None = None) -> None:
        self.rows.append((what, found, remark))
        self.faults += [fault] if fault else []


def verify_dataset(source: Source, *, data_root: Path, strict: bool | None) -> Findings:
    """Check the prepared dataset of ``source`` and all its recipe stores, and print the results.

    It checks counts, equal clips across a split, array contents against fingerprints, NaN, and splits against names.
    An incomplete dataset is a fault if ``strict``; equal clips on both sides of a split are, unless ``strict`` is
    False.

    Raises:
        UserError: at the end, listing all faults
    """
    store = ParsedStore(parsed_folder(data_root, source))
    findings, splits = Findings(), read_splits(store.folder.parent / "splits")
    report = _counts(source, store, splits, findings, strict)
    if (leak := report.leak()) and strict is not False:
        findings.faults.append(f"{leak}; strict=false lets it pass")
    _splits(source, store, splits, findings)
    _presence(store, findings)
    _parsed_bytes(store, findings)
    for folder in sorted(store.folder.parent.glob("recipes/[!.]*/")):
        _recipe_store(folder, store, findings)
    _print(f"verify {source.dataset}", findings)
    if findings.faults:
        raise UserError("; ".join(findings.faults))
    return findings


def _counts(
    source: Source, store: ParsedStore, splits: Mapping[str, Split], findings: Findings, strict: bool | None
) -> Report:
    """Compare the numbers of clips per split and side, and of equal clips, with those of the complete dataset."""
    report = Report(source.dataset)
    report.tally(store.index.table(), splits, source.expected())
    report.find_duplicates(store.names, store.index.sha1, splits)
    complaint = report.complaint()
    findings.add("clips", f"{len(store):,}", f"of {report.expected:,}" if report.expected else "",
                 fault=f"{complaint}; strict=false lets it pass" if complaint and strict else None)  # fmt: skip
    for name, sides in report.splits.items():
        for side, count in sides.items():
            wanted = report.expected_splits.get(name, {}).get(side)
            findings.add(f"{name} {side}", f"{count:,}", f"of {wanted:,}" if wanted else "")
    findings.add("equal clips (D17)", f"{sum(map(len, report.duplicates)):,}", f"groups: {len(report.duplicates):,}")
    for name, groups in report.leaks.items():
        findings.add(f"groups on both sides of {name}", f"{len(groups):,}")
    for code, count in sorted(Counter(code for _, code, _ in store.index.skipped).items()):
        findings.add(f"skipped, {code}", f"{count:,}")
    return report


def _splits(source: Source, store: ParsedStore, splits: Mapping[str, Split], findings: Findings) -> None:
    """Check that each split lists clips of the store, each on one side, as the rule gives for their names."""
    known, clips = set(store.names), _clips_by_name(source, store)
    for name, split in splits.items():
        train, test = set(split.train), set(split.test)
        path = store.folder.parent / "splits" / f"{name}.json"
        if odd := sorted((train | test) - known) or sorted(train & test):
            findings.faults.append(f"{path}: found {_some(odd)}, expected clips of the store, each on one side")
        if clips and name in source.splits:
            rule = source.split(name, clips)
            same = (set(rule.train), set(rule.test)) == (train, test)
            told = f"{len(rule.train):,} and {len(rule.test):,}"
            findings.add(f"{name} from the names", told, "same" if same else "OTHERS")
            if not same:
                found = f"{len(train):,} training and {len(test):,} test clips"
                findings.faults.append(f"{path}: found {found}, expected {told} by their names")
    if not splits:
        findings.faults.append(f"{store.folder.parent / 'splits'}: found no split, expected at least one")


def _clips_by_name(source: Source, store: ParsedStore) -> ClipTable | None:
    """Return the clips with the facts in their names, or None if names contain none."""
    if not isinstance(source, NamesTell):
        return None
    try:
        facts = [source.facts_of(name) for name in store.names]
    except BadInput:
        return None
    return ClipTable(store.names, store.labels, {key: np.array([f[key] for f in facts], np.int64) for key in FACTS})


def _presence(store: ParsedStore, findings: Findings) -> None:
    index, persons = store.index, Counter(store.index.max_bodies)
    findings.add("bodies at once", ", ".join(f"{k}: {persons[k]:,}" for k in sorted(persons)), "number: clips")
    frames = index.n_frames
    findings.add("frames", f"{sum(frames):,}", f"a clip {min(frames)} to {max(frames)}, median {median(frames):g}")
    findings.add("interpolated joints (D12)", f"{sum(index.repaired):,}")


def _parsed_bytes(store: ParsedStore, findings: Findings) -> None:
    scans = {key: _scan(store.folder / f"{key}.npy") for key in (*ROWS, *POINTERS)}
    found = fingerprint(store.index, {key: digest.digest() for key, (digest, _) in scans.items()})
    if found != store.fingerprint:
        changed = f" (changed: {_some(names)})" if (names := _changed(store)) else ""
        findings.faults.append(
            f"{store.folder}: found content of fingerprint {found[:16]}{changed}, expected {store.fingerprint[:16]} as "
            "it was written; delete the folder and run skelssl prepare again"
        )
    findings.add("fingerprint", found[:16], "as written" if found == store.fingerprint else "CHANGED")
    _nan(store.folder, scans["bodies"][1], findings)


def _recipe_store(folder: Path, store: ParsedStore, findings: Findings) -> None:
    try:
        parameters = dict(read_json(folder / "recipe.json")["recipe"])
        version = parameters.pop("version")
        recipe = RecipeConfig.parse(parameters)
        if recipe.parameters != {**parameters, "version": version}:
            findings.add(folder.name, "of an older version", "never read again; delete it")
            return
        derived = RecipeStore(folder, recipe)
        digest, odd = _scan(folder / "x.npy")
    except (UserError, KeyError) as error:
        text = str(error) if isinstance(error, UserError) else f"{folder / 'recipe.json'}: found no {error}"
        findings.add(folder.name, "UNREADABLE", fault=text)
        return
    digest.update(about_digest(derived.names, np.diff(derived.offsets), derived.labels))
    same = digest.hexdigest() == derived.fingerprint
    fault = (f"{folder}: found content of fingerprint {digest.hexdigest()[:16]}, expected {derived.fingerprint[:16]} "
             "as it was written; delete the folder to derive it again")  # fmt: skip
    stale = "" if derived.parsed == store.fingerprint else ", stale: derived again on its next use"
    remark = f"{len(derived):,} clips, {len(derived.skipped):,} skipped, {'as written' if same else 'CHANGED'}{stale}"
    findings.add(folder.name, digest.hexdigest()[:16], remark, fault=None if same else fault)
    _nan(folder, odd, findings)


def _scan(path: Path) -> tuple[Any, int]:
    """Return the SHA-256 of an ``.npy`` file's content after the header, and the number of non-finite floats."""
    digest, odd = hashlib.sha256(), 0
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        *_, kind = np.lib.format.read_array_header_1_0(file)
        for block in iter(partial(file.read, _BLOCK), b""):
            digest.update(block)
            if kind.kind == "f":
                whole = len(block) // kind.itemsize * kind.itemsize
                odd += int((~np.isfinite(np.frombuffer(block[:whole], kind))).sum())
    return digest, odd


def _nan(where: Path, count: int, findings: Findings) -> None:
    fault = f"{where}: found {count:,} NaN or infinite numbers, expected none; delete the folder to make it again"
    findings.add(f"NaN in {where.name}", f"{count:,}", fault=fault if count else None)


def _changed(store: ParsedStore) -> list[str]:
    """Return the names of the clips whose arrays have changed; none if the pointers are invalid."""
    try:
        return [
            clip.name for clip, sha1 in zip(store.clips(), store.index.sha1, strict=True) if content_sha1(clip) != sha1
        ]
    except IndexError:
        return []


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _print(title: str, findings: Findings) -> None:
    table = Table("", "found", "", title=title, title_justify="left")
    for row in findings.rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print("NOT sound" if findings.faults else "sound", markup=False, highlight=False)
