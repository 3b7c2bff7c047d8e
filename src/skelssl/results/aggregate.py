"""Aggregate results into rows of a report: one row is one cell, averaged over its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skelssl.core.errors import UserError
from skelssl.results.published import Published, targets
from skelssl.results.read import Cell, CorrectClips, Result
from skelssl.results.statistics import Interval, SeedStatistics, paired_difference, seed_statistics


@dataclass(frozen=True)
class Row:
    """One cell averaged over its seeds; accuracies are fractions."""

    cell: Cell
    runs: tuple[str, ...]  # run IDs
    seeds: tuple[int, ...]  # of pre-training where these differ, else of the evaluations
    n_test: int | None
    top1: SeedStatistics | None  # last epoch
    best: SeedStatistics | None  # best epoch, chosen on the test set
    mean_class: SeedStatistics | None  # accuracy averaged over classes
    random_init: SeedStatistics | None
    difference: Interval | None  # trained minus random init, paired over test clips
    published: tuple[Published, ...]
    departures: tuple[str, ...]  # keys that differ from the published setting; empty where nothing is published
    config: Mapping[str, Any]  # dotted keys of its runs without the seed; empty for an encoder without a run
    top1s: tuple[float, ...]  # of every seed; empty where one seed has none, as ``top1``
    randoms: tuple[float, ...]
    swept: Mapping[str, Any] = field(default_factory=dict)  # of a study: the values of the swept keys

    @property
    def gap(self) -> float | None:
        """Last epoch minus the first published number, in points; None where the setting is not the published one."""
        if self.top1 is None or not self.published or self.departures:
            return None
        return 100 * self.top1.mean - self.published[0].value


def gather_rows(results: Iterable[Result]) -> list[Row]:
    """Return one row for each cell and configuration, ordered by cell; its runs differ in nothing but the seed.

    Raises:
        UserError: Seeds of a row have other test clips.
    """
    rows = [_row(cell, part) for cell, parts in results_by_cell(results).items() for part in parts]
    return sorted(rows, key=lambda row: ([x or "" for x in row.cell], row.runs))


def results_by_cell(results: Iterable[Result]) -> dict[Cell, list[list[Result]]]:
    """Group the results of each cell; those of a group differ in nothing but the seed."""
    groups: dict[tuple[Cell, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.cell, result.experiment].append(result)
    cells: dict[Cell, list[list[Result]]] = defaultdict(list)
    for (cell, _), group in groups.items():
        cells[cell] += _seeds_once(group)
    return dict(cells)


def _seeds_once(group: list[Result]) -> list[list[Result]]:
    """Keep a group whose seeds differ; else split it into single results, since a mean counts each seed once."""
    group = sorted(group, key=lambda r: (r.seeds, str(r.path)))
    return [group] if len({r.seeds for r in group}) == len(group) else [[r] for r in group]


def _row(cell: Cell, group: list[Result]) -> Row:
    def each(key: str) -> tuple[float, ...]:
        values = tuple(r.facts[key] for r in group if r.facts.get(key) is not None)
        return values if len(values) == len(group) else ()

    def over_seeds(key: str) -> SeedStatistics | None:
        return seed_statistics(values) if (values := each(key)) else None

    trained, probed = zip(*(r.seeds for r in group), strict=True)
    published = tuple(targets(cell.method, cell.dataset, cell.protocol, cell.stream or "", cell.setting))
    return Row(
        cell=cell,
        runs=tuple(dict.fromkeys(r.run.name for r in group if r.run)),
        seeds=tuple(sorted(set(trained if len(set(trained)) > 1 else probed))),
        n_test=group[0].facts["n_test"],
        top1=over_seeds("top1"),
        best=over_seeds("top1_best_epoch"),
        mean_class=over_seeds("mean_class_accuracy"),
        random_init=over_seeds("random_init_top1"),
        difference=_difference(group),
        published=published,
        departures=group[0].departures(published[0]) if published else (),
        config=group[0].made,
        top1s=each("top1"),
        randoms=each("random_init_top1"),
    )


def _difference(group: Sequence[Result]) -> Interval | None:
    if len(group) == 1 and (stored := group[0].facts.get("difference")):
        return Interval(stored["mean"], stored["low"], stored["high"])
    trained, random = (joined_results(group, key) for key in ("logits", "random_init_logits"))
    return paired_difference(trained.right, random.right) if trained and random else None


def joined_results(group: Sequence[Result], key: str = "logits") -> CorrectClips | None:
    """Join the correctness of S results on the same N test clips.

    Args:
        group: The results.
        key: ``logits`` or ``random_init_logits``.

    Returns:
        The clips with ``right`` (S, N); None where a result has no such scores.

    Raises:
        UserError: The results have different test clips.
    """
    scores = [s for r in group if (s := r.correct(key))]
    if len(scores) < len(group):
        return None
    for result, own in zip(group, scores, strict=True):
        if not np.array_equal(own.names, scores[0].names):
            raise UserError(f"{result.path}: found other test clips than in {group[0].path}, expected the same ones")
    return scores[0]._replace(right=np.stack([own.right for own in scores]))
