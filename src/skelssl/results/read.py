"""Read the stored results of evaluations, the scores beside them, and the metrics of runs."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.core.identity import identity
from skelssl.results.published import Published, departures, is_full_split
from skelssl.results.record import KEYS


class Cell(NamedTuple):
    """Keys that must agree before two accuracies may be averaged or compared."""

    method: str
    dataset: str
    protocol: str
    mode: str | None
    setting: str | None
    stream: str | None


class CorrectClips(NamedTuple):
    """N test clips by ascending name, and which of them are classified correctly."""

    names: NDArray[np.str_]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    right: NDArray[np.bool_]  # (N,), or (S, N) of S seeds


@dataclass(frozen=True)
class Result:
    """One ``result.json`` and its path."""

    path: Path
    facts: Mapping[str, Any]

    @property
    def cell(self) -> Cell:
        """Keys by which results are grouped and compared."""
        return Cell(*(self.facts[key] for key in Cell._fields))

    @property
    def run(self) -> Path | None:
        """Folder of the run: the one that has ``eval/``."""
        return next((p.parent for p in self.path.parents if p.name == "eval"), None)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Configuration of the run; empty for an encoder without a run."""
        path = self.run / "config.yaml" if self.run else None
        return yaml.safe_load(path.read_text("utf-8")) if path and path.exists() else {}

    def departures(self, published: Published) -> tuple[str, ...]:
        """Return how the result departs from a published one: ``mode``, ``data``, keys of its run or runs."""
        full = is_full_split(self.facts["dataset"], self.facts["n_train"], self.facts["n_test"])
        asked = ["mode"] * (self.facts["mode"] != "paper") + ["data"] * (not full)
        own = departures(self.config, published.overrides) if self.config else ()
        fused = (self.facts.get("recipe") or {}).get("fusion", [])
        # results that were fused before departures were stored have none
        parts = [key for part in fused for key in part.get("departures", ["recipe.fusion"])]
        return tuple(dict.fromkeys([*asked, *own, *parts]))

    @property
    def seeds(self) -> tuple[int, int]:
        """Seed of pre-training (that of the evaluation where there is no run), and seed of the evaluation."""
        own = self.facts["seed"] or 0
        return self.config.get("seed", own), own

    @property
    def made(self) -> dict[str, Any]:
        """Identity of the run as dotted keys, without its seed."""
        return {k: v for k, v in identity(self.config).items() if k != "seed"}

    @property
    def experiment(self) -> str:
        """Digest of the run's configuration and the protocol's recipe, without seeds and keys of the machine."""
        text = json.dumps([self.made, self.facts.get("recipe")], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def correct(self, key: str = "logits") -> CorrectClips | None:
        """Return which clips ``logits`` or ``random_init_logits`` classify correctly; None where there are none."""
        path = self.path.with_name("scores.npz")
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as scores:
            if key not in scores:
                return None
            order, labels = np.argsort(scores["names"]), scores["labels"]
            return CorrectClips(scores["names"][order], labels[order], (scores[key].argmax(1) == labels)[order])


def find_results(folders: Iterable[Path]) -> list[Result]:
    """Read every result below the folders, each once.

    Raises:
        UserError: A folder does not exist or has no result, or a result lacks a key.
    """
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


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the rows of a run's ``metrics.csv`` without their empty cells.

    Raises:
        UserError: The file cannot be read, or a cell is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items() if k and v} for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}), expected the metrics of a run") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}, expected numbers under a header") from error
