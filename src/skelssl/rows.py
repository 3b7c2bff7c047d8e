"""Reads what runs and evaluations left on disk, and gathers it into rows: one row is one cell over its seeds."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.core.identity import identity
from skelssl.protocols.statistics import Interval, Spread, paired_difference, spread
from skelssl.published import Published, departures, targets, whole
from skelssl.results import KEYS


class Cell(NamedTuple):
    """What must agree before two accuracies may be averaged or compared."""

    method: str
    dataset: str
    protocol: str
    mode: str | None
    setting: str | None
    stream: str | None


class Correct(NamedTuple):
    """N test clips by ascending name."""

    names: NDArray[np.str_]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Result:
    """One ``result.json`` and where it lies."""

    path: Path
    facts: Mapping[str, Any]

    @property
    def cell(self) -> Cell:
        return Cell(*(self.facts[key] for key in Cell._fields))

    @property
    def run(self) -> Path | None:
        """The run folder: the one that holds ``eval/``."""
        return next((p.parent for p in self.path.parents if p.name == "eval"), None)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The run's configuration; empty for an encoder that came without a run."""
        path = self.run / "config.yaml" if self.run else None
        return yaml.safe_load(path.read_text("utf-8")) if path and path.exists() else {}

    def departures(self, published: Published) -> tuple[str, ...]:
        """What sets the result apart from a published cell: ``mode``, ``data``, keys of its run or runs."""
        full = whole(self.facts["dataset"], self.facts["n_train"], self.facts["n_test"])
        asked = ["mode"] * (self.facts["mode"] != "paper") + ["data"] * (not full)
        own = departures(self.config, published.overrides) if self.config else ()
        fused = (self.facts.get("recipe") or {}).get("fusion", [])
        parts = [
            key for part in fused for key in part.get("departures", ["recipe.fusion"])
        ]  # fused before they were kept
        return tuple(dict.fromkeys([*asked, *own, *parts]))

    @property
    def seeds(self) -> tuple[int, int]:
        """Seed of the pre-training (the evaluation's own where there was no run), seed of the evaluation."""
        own = self.facts["seed"] or 0
        return self.config.get("seed", own), own

    @property
    def made(self) -> dict[str, Any]:
        """What decided the run, as dotted keys, but for its seed."""
        return {k: v for k, v in identity(self.config).items() if k != "seed"}

    @property
    def experiment(self) -> str:
        """Digest of all that made the result but seeds and machine: the run's configuration, the protocol's recipe."""
        text = json.dumps([self.made, self.facts.get("recipe")], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def correct(self, key: str = "logits") -> Correct | None:
        """Of ``logits`` or ``random_init_logits``: which test clips were right; None where the scores are not there."""
        path = self.path.with_name("scores.npz")
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as scores:
            if key not in scores:
                return None
            order, labels = np.argsort(scores["names"]), scores["labels"]
            return Correct(scores["names"][order], labels[order], (scores[key].argmax(1) == labels)[order])


@dataclass(frozen=True)
class Row:
    """One cell over its seeds; accuracies are fractions."""

    cell: Cell
    runs: tuple[str, ...]  # run ids
    seeds: tuple[int, ...]  # of the runs where they differ, else of the evaluations of one run
    n_test: int | None
    top1: Spread | None  # last epoch
    best: Spread | None  # best epoch, chosen on the test set
    mean_class: Spread | None  # accuracy averaged over classes
    random_init: Spread | None
    difference: Interval | None  # trained - random init, paired over test clips
    published: tuple[Published, ...]
    departures: tuple[str, ...]  # what differs from the published setting; empty where nothing is published
    config: Mapping[str, Any]  # dotted keys of its runs, without the seed; empty for an encoder without a run
    top1s: tuple[float, ...]  # of every seed; empty where one has none, as ``top1``
    randoms: tuple[float, ...]
    swept: Mapping[str, Any] = field(default_factory=dict)  # of a study: the keys it sweeps, with this row's values

    @property
    def gap(self) -> float | None:
        """Points of our last epoch over the first published number; None where the setting is not the published one."""
        if self.top1 is None or not self.published or self.departures:
            return None
        return 100 * self.top1.mean - self.published[0].value


def find_results(folders: Iterable[Path]) -> list[Result]:
    """Every result under the folders, each once; raises UserError for a folder that holds none."""
    found: dict[Path, Result] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: found no such folder, expected a run, or a tree of runs")
        paths = sorted(folder.rglob("result.json"))
        if not paths:
            raise UserError(f"{folder}: found no result.json below it, expected a run that has been evaluated")
        found |= {path.resolve(): _read(path.resolve()) for path in paths}
    return list(found.values())


def _read(path: Path) -> Result:
    facts = read_json(path)
    if missing := [key for key in KEYS if key not in facts]:
        raise UserError(f"{path}: found no {', '.join(missing)}, expected every key of a result")
    return Result(path, facts)


def gather(results: Iterable[Result]) -> list[Row]:
    """Rows in the order of their cells; only runs that differ in nothing but the seed share a row."""
    rows = [_row(cell, part) for cell, parts in by_cell(results).items() for part in parts]
    return sorted(rows, key=lambda row: ([x or "" for x in row.cell], row.runs))


def by_cell(results: Iterable[Result]) -> dict[Cell, list[list[Result]]]:
    """The results of each cell, those together that differ in nothing but the seed."""
    groups: dict[tuple[Cell, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.cell, result.experiment].append(result)
    cells: dict[Cell, list[list[Result]]] = defaultdict(list)
    for (cell, _), group in groups.items():
        cells[cell] += _seeds_once(group)
    return dict(cells)


def _seeds_once(group: list[Result]) -> list[list[Result]]:
    """A mean over seeds holds each seed once; where one comes twice, every result stands alone."""
    group = sorted(group, key=lambda r: (r.seeds, str(r.path)))
    return [group] if len({r.seeds for r in group}) == len(group) else [[r] for r in group]


def _row(cell: Cell, group: list[Result]) -> Row:
    def each(key: str) -> tuple[float, ...]:
        values = tuple(r.facts[key] for r in group if r.facts.get(key) is not None)
        return values if len(values) == len(group) else ()

    def over_seeds(key: str) -> Spread | None:
        return spread(values) if (values := each(key)) else None

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
    trained, random = (over_results(group, key) for key in ("logits", "random_init_logits"))
    return paired_difference(trained.right, random.right) if trained and random else None


def over_results(group: Sequence[Result], key: str = "logits") -> Correct | None:
    """The clips of several results on the same test clips, ``right`` (S, N); None where one has no scores.

    Raises UserError for results on different clips.
    """
    scores = [s for r in group if (s := r.correct(key))]
    if len(scores) < len(group):
        return None
    for result, own in zip(group, scores, strict=True):
        if not np.array_equal(own.names, scores[0].names):
            raise UserError(f"{result.path}: found other test clips than in {group[0].path}, expected the same ones")
    return scores[0]._replace(right=np.stack([own.right for own in scores]))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a run's ``metrics.csv``, empty cells left out; raises UserError where a cell is no number."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items() if k and v} for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}), expected the metrics of a run") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}, expected numbers under a header") from error
