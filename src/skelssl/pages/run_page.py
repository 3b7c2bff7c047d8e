"""The HTML page of one run: a section for every question, and a line that says why where one has no answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError
from skelssl.data.module import Dataset
from skelssl.pages.figures.html import Page
from skelssl.pages.run import Look, Missing, Section
from skelssl.pages.sections import attention, facts, features, masks
from skelssl.protocols.floor import raw_features, raw_one_nn, raw_ridge

RIDGE_CLIPS = 5000  # the classifier solves a system of as many equations as there are training clips

SECTIONS: Mapping[str, Callable[[Look], Section]] = {
    "What was learnt": facts.learnt,
    "Training": facts.training,
    "What the encoder sees": masks.players,
    "What is hidden": masks.rates,
    "What the encoder looks at": attention.attention,
    "Feature space": features.feature_map,
    "Nearest neighbours": features.neighbours,
    "Confusions": facts.confusions,
    "Lost joints": facts.lost_joints,
    "All figures": facts.table,
    "Data": facts.clips,
    "The run": facts.about,
}


def open_run(run: Path) -> tuple[dict[str, Any], Dataset]:
    """Configuration and data of a run; raises UserError where either is gone."""
    look = Look(run)
    return look.config, look.data


def raw_floors(data: Dataset) -> dict[str, float]:
    """What raw coordinates achieve on this split, by protocol: nearest neighbour, and a ridge classifier."""
    sides = []
    for rows in (data.train, data.test):
        batch = data.store.gather(rows)
        features = raw_features(batch.x, batch.frames, body=data.store.layout, coordinates=data.store.coordinates)
        sides += [features, batch.label]
    floors = {"knn": raw_one_nn(*sides)}
    return floors | ({"linear": raw_ridge(*sides)} if len(data.train) <= RIDGE_CLIPS else {})


def write_page(run: Path, path: Path, floors: Mapping[str, float] | None = None) -> None:
    """Writes the self-contained page of ``run``. Raises UserError only where there is no run; what a section lacks,
    such as data that were moved away, it says itself.
    """
    look = Look(run, floors)
    config = look.config
    page = Page(
        f"{config['method']['name']} on {config['dataset']['name']}",
        subtitle=f"run {run.resolve().name}, seed {config['seed']}, stream {config['stream']}",
    )
    for title, make in SECTIONS.items():
        try:
            section = make(look)
            page.add(title, section.caption, section.html)
        except Missing as missing:
            page.absent(title, missing.why, missing.command)
        except UserError as error:
            page.absent(title, str(error))
    page.write(path)
