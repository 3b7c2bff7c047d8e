"""What became of every raw file: skips with their codes, warnings, counts against what a complete set holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from skelssl.data.source import ClipTable, Split

WARNINGS = {
    "D03": "extra numbers after the last frame, left out",
    "D05": "frames without a body, kept in the timeline",
    "D12": "NaN or infinite coordinates",
    "D17": "same content under several names",
    "D18": "same file in several places, used once",
    "D21": "replication above 2, kept",
}
_LETTERS = {"setup": ("setups", "S", 0), "label": ("actions", "A", 1), "camera": ("cameras", "C", 0)}
_LETTERS |= {"subject": ("performers", "P", 0)}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is not in the store. A tolerated one is left out on purpose and no fault of the set."""

    name: str
    code: str
    reason: str
    tolerated: bool = False


@dataclass(slots=True)
class Report:
    """Filled while a data set is prepared; ``as_json`` is the content of ``report.json``."""

    dataset: str
    skipped: list[Skip] = field(default_factory=list)
    warned: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # code -> names
    counts: dict[str, int] = field(default_factory=dict)
    expected: int | None = None  # clips of a complete set
    missing: dict[str, list[int]] = field(default_factory=dict)  # fact -> values of which no clip was found
    duplicates: list[list[str]] = field(default_factory=list)  # groups of clips of equal content (D17)
    leaks: dict[str, list[list[str]]] = field(default_factory=dict)  # split -> groups on both its sides
    notes: list[str] = field(default_factory=list)
    built: bool = False  # False where the store was there already

    def skip(self, name: str, code: str, reason: str, *, tolerated: bool = False) -> None:
        self.skipped.append(Skip(name, code, reason, tolerated))

    def warn(self, code: str, name: str) -> None:
        self.warned[code].append(name)

    def tally(self, clips: ClipTable, expected: Mapping[str, Any]) -> None:
        """Counts the clips and compares them with ``Source.expected()``."""
        self.counts["clips"] = len(clips.names)
        self.expected = expected.get("clips")
        columns = {"label": clips.labels, **clips.facts}
        wanted = {key: set(values) - set(columns[key].tolist()) for key, values in expected.items() if key != "clips"}
        self.missing = {key: sorted(values) for key, values in wanted.items() if values}

    def find_duplicates(self, names: Sequence[str], sha1: Sequence[str], splits: Mapping[str, Split]) -> None:
        """Groups clips of equal content; a group with clips on both sides of a split leaks."""
        by_content = defaultdict(list)
        for name, digest in zip(names, sha1, strict=True):
            by_content[digest].append(name)
        self.duplicates = [group for group in by_content.values() if len(group) > 1]
        self.warned["D17"] = [name for group in self.duplicates for name in group]
        for split, sides in splits.items():
            train = set(sides.train)
            self.leaks[split] = [g for g in self.duplicates if 0 < sum(name in train for name in g) < len(g)]

    def complaint(self) -> str | None:
        """One sentence on all that keeps the set from being complete and sound, or None."""
        parts = []
        if self.expected not in (None, self.counts["clips"]):
            parts.append(f"found {self.counts['clips']:,} of {self.expected:,} expected clips")
        if self.missing:
            parts.append("missing " + ", ".join(_values(key, values) for key, values in self.missing.items()))
        if faults := [skip for skip in self.skipped if not skip.tolerated]:
            shown = [f"{skip.name} ({skip.code} {skip.reason})" for skip in faults]
            parts.append(f"skipped {_some(shown)}")
        for split, groups in self.leaks.items():
            if groups:
                shown = [" = ".join(group) for group in groups]
                parts.append(f"equal clips on both sides of {split} (D17): {_some(shown)}")
        return f"{self.dataset}: {'; '.join(parts)}" if parts else None

    def as_json(self) -> dict[str, Any]:
        warnings = {code: {"what": WARNINGS.get(code, ""), "count": len(names), "names": sorted(names)}
                    for code, names in sorted(self.warned.items()) if names}  # fmt: skip
        skipped = [asdict(skip) for skip in sorted(self.skipped, key=lambda skip: (skip.name, skip.code))]
        return {
            "dataset": self.dataset,
            "counts": self.counts,
            "expected_clips": self.expected,
            "missing": self.missing,
            "skipped_by_code": _by_code(self.skipped),
            "skipped": skipped,
            "warnings": warnings,
            "duplicates": self.duplicates,
            "leaks": self.leaks,
            "notes": self.notes,
        }

    def print(self, console: Console | None = None) -> None:
        """The summary on the console."""
        table = Table("", "files", "", title=f"prepare {self.dataset}", title_justify="left")
        of = f"of {self.expected:,} in the complete set" if self.expected else ""
        table.add_row("clips in the store", f"{self.counts.get('clips', 0):,}", of)
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
    """Runs of values with their letter: ``setups S002…S017 whole``."""
    noun, letter, shift = _LETTERS.get(key, (key, "", 0))
    runs = []
    for _, run in groupby(enumerate(values), key=lambda pair: pair[1] - pair[0]):
        ends = [f"{letter}{value + shift:03d}" for _, value in run]
        runs.append(ends[0] if len(ends) == 1 else f"{ends[0]}…{ends[-1]}")
    return f"{noun} {', '.join(runs)} whole"
