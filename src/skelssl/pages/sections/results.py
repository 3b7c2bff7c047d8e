"""Results against random init: top-1 of every evaluation of a run."""

from __future__ import annotations

from skelssl.pages.figures.results import accuracy_bars
from skelssl.pages.run import OpenedRun, Section
from skelssl.results.aggregate import gather_rows

CAPTION = (
    "Top-1 accuracy in per cent: the pre-trained encoder, the same encoder at random init, and raw coordinates. "
    "A tick marks a published number of exactly this cell."
)


def results_section(run: OpenedRun) -> Section:
    """Draw bars for every result, with the floor of raw coordinates where it was computed."""
    return Section(CAPTION, accuracy_bars(gather_rows(run.evaluations("knn")), run.floors))
