"""Confusion matrix: the predictions of one evaluation, the linear one where it exists."""

from __future__ import annotations

import numpy as np

from skelssl.pages.figures.confusion import confusion_figure
from skelssl.pages.run import NOT_EVALUATED, OpenedRun, Section, SectionUnavailable


def confusion_section(run: OpenedRun) -> Section:
    """Draw the confusion matrix of a result on the run's dataset whose scores are stored."""
    dataset = run.config["dataset"]["name"]
    scored = [r for r in run.results if r.facts["dataset"] == dataset and r.path.with_name("scores.npz").exists()]
    if not scored:
        raise SectionUnavailable(NOT_EVALUATED, run.evaluate_command("linear"))
    chosen = next((r for r in scored if r.facts["protocol"] == "linear"), scored[0])
    names = run.data.class_names
    with np.load(chosen.path.with_name("scores.npz"), allow_pickle=False) as scores:
        cells = scores["labels"] * len(names) + scores["logits"].argmax(1)
    matrix = np.bincount(cells, minlength=len(names) ** 2).reshape(len(names), -1)
    caption = (
        f"Test clips under the {chosen.facts['protocol']} protocol, seed {chosen.facts['seed']}. Rows are true "
        "classes, columns are predicted classes, and colour is the fraction of the row. Hover over a cell for details."
    )
    return Section(caption, confusion_figure(matrix, names))
