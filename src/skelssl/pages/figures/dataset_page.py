"""Write the page of a prepared dataset: classes, splits, lengths, warnings and skipped files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.data.source import FACTS
from skelssl.data.split import ClipTable, Split
from skelssl.pages.figures.counts import class_table, count_bars, fact_table, histogram, text_table
from skelssl.pages.figures.html import Page

SHOWN = 300  # rows of a list; report.json has all
EXAMPLES = 3
CAPTIONS = {
    "classes": "Clips of each class, in total and in each side of each split.",
    "facts": "Clips by subject, camera and the other metadata that the names contain.",
    "lengths": "Frames per recording, before any recipe.",
    "bodies": "Largest number of bodies tracked in one frame of a clip, false detections included.",
    "codes": "These clips are part of the dataset; the recipes handle the problem.",
    "skipped": "Files, or parts of files, that contain no usable clip.",
}


def write_dataset_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    clips: ClipTable,
    class_names: Sequence[str],
    n_frames: NDArray[np.int64],
    max_bodies: NDArray[np.int64],
    splits: Mapping[str, Split],
    report: Mapping[str, Any],
) -> None:
    """Write the page of N prepared clips into the HTML file ``path``.

    ``n_frames`` and ``max_bodies``, the largest number of bodies in one frame, are (N,); ``report`` is the content of
    ``report.json``. Raises UserError where the file cannot be written.
    """
    page = Page(title, subtitle=subtitle)
    page.add("Overview", "", fact_table(_glance(clips, splits, report)))
    total = np.bincount(clips.labels, minlength=len(class_names)).tolist()
    page.add("Classes", CAPTIONS["classes"], class_table(class_names, total, _sides(clips, splits, len(class_names))))
    if known := _known(clips):
        page.add("Metadata", CAPTIONS["facts"], count_bars(known))
    low, middle, high = (int(f(n_frames)) for f in (np.min, np.median, np.max))
    lengths = f"{CAPTIONS['lengths']} Minimum {low:,}, median {middle:,}, maximum {high:,}."
    page.add("Lengths", lengths, histogram(n_frames, "frames"))
    page.add("Bodies", CAPTIONS["bodies"], count_bars({"bodies in one frame": _by_value(max_bodies)}))
    if report["warnings"]:
        page.add(
            "Warnings", CAPTIONS["codes"], text_table(("code", "count", "description", "examples"), _warnings(report))
        )
    if report["skipped"]:
        page.add(
            "Skipped",
            CAPTIONS["skipped"] + _of(report["skipped"]),
            text_table(("name", "code", "reason"), _skipped(report)),
        )
    page.write(path)


def _glance(clips: ClipTable, splits: Mapping[str, Split], report: Mapping[str, Any]) -> list[tuple[str, str]]:
    expected = report["expected_clips"]
    facts = [
        ("clips", f"{len(clips.names):,}" + (f" of {_number(expected)} in the complete dataset" if expected else ""))
    ]
    for fact, values in report["missing"].items():
        shift = 1 if fact == "label" else 0  # the table numbers classes from 1
        facts.append((f"missing: {'class' if shift else fact}", ", ".join(str(value + shift) for value in values)))
    for name, split in splits.items():
        wanted = report["expected_splits"].get(name, {})
        facts.append((f"split {name}", ", ".join(_side(split, side, wanted) for side in ("train", "test"))))
    if report["duplicates"]:
        inside = sum(map(len, report["duplicates"]))
        facts.append(("duplicate clips", f"{inside:,} clips in {len(report['duplicates']):,} groups (D17)"))
    facts += [
        (f"leak in {split}", f"{len(groups):,} groups on both sides")
        for split, groups in report["leaks"].items()
        if groups
    ]
    return facts + [("note", note) for note in report["notes"]]


def _number(expected: int | Sequence[int]) -> str:
    """Return a number, or a range where publications disagree."""
    return f"{expected:,}" if isinstance(expected, int) else "–".join(f"{n:,}" for n in expected)


def _side(split: Split, side: str, wanted: Mapping[str, int]) -> str:
    return f"{side} {len(getattr(split, side)):,}" + (f" of {wanted[side]:,}" if wanted else "")


def _sides(clips: ClipTable, splits: Mapping[str, Split], classes: int) -> dict[str, list[int]]:
    label = dict(zip(clips.names, clips.labels.tolist(), strict=True))
    return {
        f"{name} {side}": np.bincount([label[n] for n in getattr(split, side)], minlength=classes).tolist()
        for name, split in splits.items()
        for side in ("train", "test")
    }


def _known(clips: ClipTable) -> dict[str, dict[str, int]]:
    counts = {fact: _by_value(clips.facts[fact][clips.facts[fact] >= 0]) for fact in FACTS}
    return {fact: found for fact, found in counts.items() if found}


def _by_value(values: NDArray[np.int64]) -> dict[str, int]:
    found, count = np.unique(values, return_counts=True)
    return dict(zip(map(str, found.tolist()), count.tolist(), strict=True))


def _warnings(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (code, f"{found['count']:,}", found["what"], ", ".join(found["names"][:EXAMPLES]))
        for code, found in report["warnings"].items()
    ]


def _skipped(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(skip["name"], skip["code"], skip["reason"]) for skip in report["skipped"][:SHOWN]]


def _of(rows: Sequence[object]) -> str:
    return f" The first {SHOWN} of {len(rows):,}; report.json lists all." if len(rows) > SHOWN else ""
