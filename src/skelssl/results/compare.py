"""Compare the results of two folders, paired by clip name: ``python -m skelssl.report A B --compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from skelssl.core.errors import UserError
from skelssl.results.aggregate import joined_results, results_by_cell
from skelssl.results.read import Cell, CorrectClips, Result
from skelssl.results.statistics import Interval, paired_difference
from skelssl.results.tables import markdown_table, rich_table
from skelssl.results.text import format_points

# Cells are paired where they agree in these keys; unpaired cells try the next line.
MATCHING_KEYS = (
    ("dataset", "protocol", "mode", "setting", "stream"),
    ("dataset", "protocol", "mode", "stream"),
    ("dataset", "protocol"),
)


@dataclass(frozen=True)
class Pair:
    """Two groups of results on the same clips; accuracies are fractions of the ``clips`` that both have."""

    a: Cell
    b: Cell
    seeds: tuple[int, int]  # number of seeds on either side
    top1: tuple[float, float]
    difference: Interval
    clips: int
    left_out: int  # test clips that are on one side only


@dataclass(frozen=True)
class Comparison:
    """All pairs of results of two folders."""

    pairs: tuple[Pair, ...]

    def rich(self) -> Table:
        """Return a table for the console."""
        return rich_table([_cells(pair) for pair in self.pairs], self.notes())

    def markdown(self) -> str:
        """Return a pipe table."""
        return markdown_table([_cells(pair) for pair in self.pairs], self.notes())

    def json(self) -> list[dict[str, Any]]:
        """Return plain values; accuracies are fractions."""
        both = ("a", "b")
        return [
            asdict(pair) | {side: getattr(pair, side)._asdict() for side in both}
            | {"difference": pair.difference._asdict()}
            for pair in self.pairs
        ]  # fmt: skip

    def notes(self) -> list[str]:
        """Return notes on how to read the table."""
        notes = [
            "A and B: top-1 in per cent, last epoch. Where they differ in a column: A | B.",
            "A - B in points, averaged over each side's seeds, paired by clip name, bootstrap over clips, 95 %.",
        ]
        if left := max(pair.left_out for pair in self.pairs):
            notes.append(f"Up to {left} test clips are on one side only and are left out.")
        return notes


def compare(first: Sequence[Result], second: Sequence[Result]) -> Comparison:
    """Pair the cells of both sides, the closest match first, and compute their differences.

    Args:
        first: Results of folder A.
        second: Results of folder B.

    Returns:
        One pair for each cell that both sides have.

    Raises:
        UserError: No cell pairs, a side has several configurations of a cell, or the labels of a clip differ.
    """
    sides = [_groups(results) for results in (first, second)]
    pairs = []
    for keys_to_match in MATCHING_KEYS:
        keys = [_alone(side, keys_to_match) for side in sides]
        for key in sorted(keys[0].keys() & keys[1].keys(), key=str):
            a, b = keys[0][key], keys[1][key]
            pairs.append(_pair(sides[0].pop(a), sides[1].pop(b)))
    if not pairs:
        found = [", ".join(sorted({f"{c.protocol} on {c.dataset}" for c in side})) for side in sides]
        raise UserError(f"--compare: found {found[0]} and {found[1]}, expected a protocol and dataset that both have")
    return Comparison(tuple(sorted(pairs, key=lambda pair: [str(x) for x in (*pair.a, *pair.b)])))


def _groups(results: Sequence[Result]) -> dict[Cell, list[Result]]:
    cells = results_by_cell(results)
    for cell, groups in cells.items():
        if len(groups) > 1:
            runs = sorted({str(result.run) for group in groups for result in group})
            raise UserError(
                f"--compare: found {len(groups)} configurations of {cell.protocol} on {cell.dataset} in "
                f"{', '.join(runs)}, expected one on either side; name its folder"
            )
    return {cell: groups[0] for cell, groups in cells.items()}


def _alone(side: Mapping[Cell, Any], keys_to_match: Sequence[str]) -> dict[tuple[Any, ...], Cell]:
    """Return cells by their values of these keys, without those that share them with another cell."""
    keys: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in side:
        keys.setdefault(tuple(getattr(cell, part) for part in keys_to_match), []).append(cell)
    return {key: cells[0] for key, cells in keys.items() if len(cells) == 1}


def _pair(first: list[Result], second: list[Result]) -> Pair:
    a, b = (_scores(group) for group in (first, second))
    names, at_a, at_b = np.intersect1d(a.names, b.names, assume_unique=True, return_indices=True)
    if not len(names):
        raise UserError(f"{second[0].path}: found no test clip of {first[0].path}, expected the same test clips")
    if (other := a.labels[at_a] != b.labels[at_b]).any():
        raise UserError(
            f"{second[0].path}: found another label of {names[other][0]} than in {first[0].path}, expected the same"
        )
    right = a.right[:, at_a], b.right[:, at_b]
    return Pair(
        first[0].cell, second[0].cell, (len(first), len(second)), (float(right[0].mean()), float(right[1].mean())),
        paired_difference(*right), len(names), len(a.names) + len(b.names) - 2 * len(names),
    )  # fmt: skip


def _scores(group: list[Result]) -> CorrectClips:
    found = joined_results(group)
    if found is None:
        raise UserError(f"{group[0].path.parent}: found no scores.npz, expected the scores of every test clip")
    return found


def _cells(pair: Pair) -> dict[str, str]:
    def both(a: object, b: object) -> str:
        shown = [str(x) if x is not None else "-" for x in (a, b)]
        return ("" if a is None else shown[0]) if a == b else " | ".join(shown)

    words = {part: both(getattr(pair.a, part), getattr(pair.b, part)) for part in Cell._fields}
    return {
        **words, "seeds": both(*pair.seeds), "A": f"{100 * pair.top1[0]:.1f}", "B": f"{100 * pair.top1[1]:.1f}",
        "A - B [95 %]": format_points(pair.difference), "clips": str(pair.clips),
    }  # fmt: skip
