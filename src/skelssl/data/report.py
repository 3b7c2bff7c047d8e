"""Report on every raw file: skips with their codes, warnings, and counts compared with the complete dataset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from skelssl.core.files import write_json
from skelssl.data.split import ClipTable, Split

WARNINGS = {
    "D02": "truncated, complete frames retained (salvage)",
    "D03": "extra numbers after the last frame, left out",
    "D05": "frames without a body, retained in the timeline",
    "D06": "more bodies than persons: ghosts and tables, left to the recipe",
    "D07": "the body's id changes; recipes that follow ids join the pieces",
    "D08": "a body disappears and returns",
    "D09": "bodies swap positions in the list",
    "D10": "second body part of the time",
    "D11": "ids that only 64-bit integers distinguish",
    "D12": "NaN or infinite coordinates, interpolated or their frames left out",
    "D13": "joints exactly at the origin, taken as absent",
    "D14": "more than 300 frames",
    "D15": "fewer than 8 frames",
    "D16": "more than ten times the usual length",
    "D17": "same content under several names",
    "D18": "same file in several places, used once",
    "D21": "replication other than 1 or 2, retained",
    "D22": "not the number of a complete dataset; setups, actions that are entirely missing",
    "D25": "interval of a label swapped, or cut to the recording",
    "D34": "two equal persons",
    "D36": "more than two persons in poses, those that move most retained",
}
_LETTERS = {"setup": ("setups", "S", 0), "label": ("actions", "A", 1), "camera": ("cameras", "C", 0)}
_LETTERS |= {"subject": ("performers", "P", 0)}
_SHOWN = 3
_OUTLIER = 10  # times the median length


class Span(NamedTuple):
    """A number for which publications report different values, from ``low`` to ``high``."""

    low: int
    high: int

    def __format__(self, spec: str) -> str:
        return f"{self.low:{spec}}–{self.high:{spec}}"


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is not in the store. A tolerated one is left out on purpose and is not a fault of the dataset."""

    name: str
    code: str
    reason: str
    tolerated: bool = False


@dataclass(slots=True)
class Report:
    """The report of a dataset, filled while it is prepared; ``as_json`` is the content of ``report.json``."""

    dataset: str
    skipped: list[Skip] = field(default_factory=list)
    warned: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # code -> names
    counts: dict[str, int] = field(default_factory=dict)
    expected: int | Span | None = None  # clips of the complete dataset
    splits: dict[str, dict[str, int]] = field(default_factory=dict)  # split -> number of training and test clips
    expected_splits: dict[str, dict[str, int]] = field(default_factory=dict)  # as above, of the complete dataset
    missing: dict[str, list[int]] = field(default_factory=dict)  # fact -> values for which no clip was found
    duplicates: list[list[str]] = field(default_factory=list)  # groups of clips with equal content (D17)
    leaks: dict[str, list[list[str]]] = field(default_factory=dict)  # split -> groups on both its sides
    notes: list[str] = field(default_factory=list)
    origin: str = ""  # the format that an import was recognised as
    built: bool = False  # False if the store existed already

    def skip(self, name: str, code: str, reason: str, *, tolerated: bool = False) -> None:
        self.skipped.append(Skip(name, code, reason, tolerated))

    def warn(self, code: str, name: str) -> None:
        self.warned[code].append(name)

    def tally(self, clips: ClipTable, splits: Mapping[str, Split], expected: Mapping[str, Any]) -> None:
        """Count the clips and compare the counts with ``Source.expected()``."""
        self.counts["clips"] = len(clips.names)
        self.expected = expected.get("clips")
        self.splits = {name: {"train": len(one.train), "test": len(one.test)} for name, one in splits.items()}
        sides = expected.get("splits", {})
        self.expected_splits = {name: dict(zip(("train", "test"), sides[name], strict=True)) for name in sides}
        columns = {"label": clips.labels, **clips.facts}
        known = [key for key in expected if key in columns and columns[key].max(initial=-1) >= 0]  # no names, no facts
        wanted = {key: set(expected[key]) - set(columns[key].tolist()) for key in known}
        self.missing = {key: sorted(wanted[key]) for key in expected if wanted.get(key)}
        if not self.complete:
            whole = [_values(key, values) for key, values in self.missing.items()]
            self.warned["D22"] = whole or ["no setup, action or camera is entirely missing"]

    def find_duplicates(self, names: Sequence[str], sha1: Sequence[str], splits: Mapping[str, Split]) -> None:
        """Group clips of equal content; a group with clips on both sides of a split leaks."""
        by_content = defaultdict(list)
        for name, digest in zip(names, sha1, strict=True):
            by_content[digest].append(name)
        self.duplicates = [group for group in by_content.values() if len(group) > 1]
        self.warned["D17"] = [name for group in self.duplicates for name in group]
        for split, sides in splits.items():
            train = set(sides.train)
            self.leaks[split] = [g for g in self.duplicates if 0 < sum(name in train for name in g) < len(g)]

    def find_outliers(self, names: Sequence[str], frames: Sequence[int]) -> None:
        """Warn of clips that are far longer than the median clip (D16)."""
        limit = _OUTLIER * median(frames or [0])
        self.warned["D16"] = [name for name, count in zip(names, frames, strict=True) if count > limit]

    @property
    def complete(self) -> bool:
        """Return whether the store holds as many clips as the complete dataset; true if that number is unknown."""
        known = self.expected
        low, high = known if isinstance(known, Span) else (known, known)
        return low is None or high is None or low <= self.counts["clips"] <= high

    def complaint(self) -> str | None:
        """Return a one-line description of what is missing or invalid in the dataset, or None."""
        parts = []
        if not self.complete:
            parts.append(f"found {self.counts['clips']:,} of {self.expected:,} expected clips")
        else:
            wrong = [
                name for name in self.splits if self.expected_splits.get(name, self.splits[name]) != self.splits[name]
            ]
            parts += [f"found {self._sides(name)} clips" for name in wrong]
        if self.missing:
            parts.append("missing " + ", ".join(_values(key, values) for key, values in self.missing.items()))
        if faults := [skip for skip in self.skipped if not skip.tolerated]:
            shown = [f"{skip.name} ({skip.code} {skip.reason})" for skip in faults]
            parts.append(f"skipped {_some(shown)}")
        return f"{self.dataset}: {'; '.join(parts)}" if parts else None

    def leak(self) -> str | None:
        """Return a one-line description of equal clips on both sides of a split, or None."""
        shown = {
            split: _some([" = ".join(group) for group in groups]) for split, groups in self.leaks.items() if groups
        }
        parts = [f"equal clips on both sides of {split} (D17): {some}" for split, some in shown.items()]
        return f"{self.dataset}: found {'; '.join(parts)}" if parts else None

    def _sides(self, split: str) -> str:
        """Return the found and expected counts, such as ``xsub train 40,091 of 40,091, test ...``."""
        wanted = self.expected_splits.get(split, {})
        found = [f"{side} {count:,}" + (f" of {wanted[side]:,}" if wanted else "")
                 for side, count in self.splits[split].items()]  # fmt: skip
        return f"{split} {', '.join(found)}"

    def as_json(self) -> dict[str, Any]:
        warnings = {code: {"what": WARNINGS.get(code, ""), "count": len(names), "names": sorted(names)}
                    for code, names in sorted(self.warned.items()) if names}  # fmt: skip
        skipped = [asdict(skip) for skip in sorted(self.skipped, key=lambda skip: (skip.name, skip.code))]
        return {
            "dataset": self.dataset,
            "origin": self.origin,
            "counts": self.counts,
            "expected_clips": self.expected,
            "splits": self.splits,
            "expected_splits": self.expected_splits,
            "missing": self.missing,
            "skipped_by_code": _by_code(self.skipped),
            "skipped": skipped,
            "warnings": warnings,
            "duplicates": self.duplicates,
            "leaks": self.leaks,
            "notes": self.notes,
        }

    def write_rejected(self, folder: Path) -> Path:
        """Write the report of a rejected dataset; the report of an existing store is not overwritten."""
        path = folder / ("report.refused.json" if (folder / "parsed").exists() else "report.json")
        write_json(path, self.as_json())
        return path

    def print(self, console: Console | None = None) -> None:
        """Print the summary on the console."""
        table = Table("", "files", "", title=f"prepare {self.dataset}", title_justify="left")
        of = f"of {self.expected:,} in the complete dataset" if self.expected else ""
        table.add_row("clips in the store", f"{self.counts.get('clips', 0):,}", of)
        for split in self.splits:
            table.add_row(f"split {split}", "", self._sides(split).removeprefix(f"{split} "))
        if absent := self.counts.get("incomplete_absent"):
            table.add_row("absent, D20", f"{absent:,}", "on the list of incomplete recordings, and absent")
        for code, count in _by_code(self.skipped).items():
            reason = next(skip.reason for skip in self.skipped if skip.code == code)
            table.add_row(f"skipped, {code}", f"{count:,}", reason)
        for code, names in sorted(self.warned.items()):
            if names:
                table.add_row(f"warning, {code}", f"{len(names):,}", WARNINGS.get(code, ""))
        console = console or Console()
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)


def _by_code(skipped: Iterable[Skip]) -> dict[str, int]:
    return dict(sorted(Counter(skip.code for skip in skipped).items()))


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def _values(key: str, values: Sequence[int]) -> str:
    """Return runs of values with their letter, such as ``all of setups S002…S017``."""
    runs = []
    for _, run in groupby(enumerate(values), key=lambda pair: pair[1] - pair[0]):
        ends = [_value(key, value) for _, value in run]
        runs.append(ends[0] if len(ends) == 1 else f"{ends[0]}…{ends[-1]}")
    return f"all of {_LETTERS.get(key, (key, '', 0))[0]} {', '.join(runs)}"


def _value(key: str, value: int) -> str:
    """Return one value with its letter, such as ``S002``."""
    _, letter, shift = _LETTERS.get(key, (key, "", 0))
    return f"{letter}{value + shift:03d}"
