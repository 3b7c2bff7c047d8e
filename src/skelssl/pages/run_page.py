"""Write the HTML page of one run. To add a section, write a file in ``sections/`` and add its function to SECTIONS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError
from skelssl.data.module import Dataset
from skelssl.pages.figures.html import Page
from skelssl.pages.run import OpenedRun, Section, SectionUnavailable
from skelssl.pages.sections.attention import attention_section
from skelssl.pages.sections.configuration import configuration_section
from skelssl.pages.sections.confusion_matrix import confusion_section
from skelssl.pages.sections.data import data_section
from skelssl.pages.sections.feature_space import feature_space_section
from skelssl.pages.sections.lost_joints import lost_joints_section
from skelssl.pages.sections.masking_rates import masking_rates_section
from skelssl.pages.sections.masks import masks_section
from skelssl.pages.sections.metrics import metrics_section
from skelssl.pages.sections.neighbours import neighbours_section
from skelssl.pages.sections.results import results_section
from skelssl.pages.sections.training import training_section
from skelssl.protocols.floor import raw_features, raw_one_nn, raw_ridge

RIDGE_CLIPS = 5000  # the ridge classifier solves a linear system with one equation per training clip

SECTIONS: Mapping[str, Callable[[OpenedRun], Section]] = {
    "Results against random init": results_section,
    "Training": training_section,
    "Masks": masks_section,
    "Masking rates": masking_rates_section,
    "Attention": attention_section,
    "Feature space": feature_space_section,
    "Nearest neighbours": neighbours_section,
    "Confusion matrix": confusion_section,
    "Lost joints": lost_joints_section,
    "All metrics": metrics_section,
    "Data": data_section,
    "Run and configuration": configuration_section,
}


def open_run(run: Path) -> tuple[dict[str, Any], Dataset]:
    """Return configuration and data of a run; raise UserError where either is missing."""
    opened = OpenedRun(run)
    return opened.config, opened.data


def raw_floors(data: Dataset) -> dict[str, float]:
    """Return the accuracy of raw coordinates by protocol, as fractions: 1-NN, and a ridge classifier."""
    sides = []
    for rows in (data.train, data.test):
        batch = data.store.gather(rows)
        features = raw_features(batch.x, batch.frames, body=data.store.layout, coordinates=data.store.coordinates)
        sides += [features, batch.label]
    floors = {"knn": raw_one_nn(*sides)}
    return floors | ({"linear": raw_ridge(*sides)} if len(data.train) <= RIDGE_CLIPS else {})


def write_page(run: Path, path: Path, floors: Mapping[str, float] | None = None) -> None:
    """Write the self-contained page of a run. A section whose data are missing gives the reason instead.

    Args:
        run: The folder of a finished or unfinished run.
        path: The HTML file to write.
        floors: Accuracies of raw coordinates by protocol, as fractions; see `raw_floors`.

    Raises:
        UserError: ``run`` is no run folder.
    """
    opened = OpenedRun(run, floors)
    config = opened.config
    page = Page(
        f"{config['method']['name']} on {config['dataset']['name']}",
        subtitle=f"run {run.resolve().name}, seed {config['seed']}, stream {config['stream']}",
    )
    for title, make in SECTIONS.items():
        try:
            section = make(opened)
            page.add(title, section.caption, section.html)
        except SectionUnavailable as unavailable:
            page.absent(title, unavailable.reason, unavailable.command)
        except UserError as error:
            page.absent(title, str(error))
    page.write(path)
