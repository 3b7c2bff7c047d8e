"""Training: the curves of everything that a run logged."""

from __future__ import annotations

from skelssl.pages.figures.curves import loss_curve
from skelssl.pages.run import OpenedRun, Section, SectionUnavailable
from skelssl.results.read import read_metrics

CAPTION = (
    "Every logged metric over the training steps. Where many steps share a pixel, the line is their mean and the band "
    "spans the minimum to the maximum."
)


def training_section(run: OpenedRun) -> Section:
    """Draw the columns of ``metrics.csv``, evaluations excepted, which are single values."""
    path = run.run / "metrics.csv"
    rows = read_metrics(path) if path.exists() else []
    rows = [{k: v for k, v in row.items() if not k.startswith("eval/")} for row in rows]
    if not any(row.keys() - {"epoch", "step"} for row in rows):
        raise SectionUnavailable(
            "This run has not logged any metrics yet.", "python -m skelssl.train, with the settings below"
        )
    return Section(CAPTION, loss_curve(rows))
