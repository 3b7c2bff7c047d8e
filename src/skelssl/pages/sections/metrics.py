"""All metrics: the table of every evaluation of a run."""

from __future__ import annotations

from skelssl.pages.figures.results import results_table
from skelssl.pages.run import OpenedRun, Section
from skelssl.results.aggregate import gather_rows

CAPTION = (
    "Accuracies in per cent. Random init is the same encoder before pre-training, evaluated under the same protocol. "
    "The interval is the 95 % confidence interval of the difference."
)


def metrics_section(run: OpenedRun) -> Section:
    """List every metric of every result."""
    return Section(CAPTION, results_table(gather_rows(run.evaluations("linear"))))
