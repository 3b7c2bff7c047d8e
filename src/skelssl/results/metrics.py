"""Compute the metrics of a result: accuracies, per-class accuracy, confusion matrix and calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skelssl.results.scores import Scores

BINS = 15


def score_metrics(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Return all metrics of ``result.json`` that follow from scores.

    A class without test clips has no accuracy and does not count in ``mean_class_accuracy``. Votes are no
    probabilities, so their ``calibration_error`` is None.

    Args:
        scores: Scores of the test clips.
        class_names: Names in the order of the classes.

    Returns:
        Plain values by key: accuracies are fractions, ``per_class`` and ``confusion`` (row = true class, column =
        predicted class, in clips) are in the order of the classes.
    """
    confusion = scores.confusion()
    share, clips = scores.per_class, confusion.sum(1)
    # there may be more or fewer names than dataset.classes
    named = [*class_names[: len(clips)], *(f"class {c}" for c in range(len(class_names), len(clips)))]
    rows = zip(named, clips.tolist(), share.tolist(), strict=True)
    return {
        "top1": scores.top1, "top5": scores.top5, "top1_best_epoch": scores.best_epoch_top1,
        "test_touched_for_selection": scores.test_selected,
        "mean_class_accuracy": float(share[clips > 0].mean()),
        "calibration_error": None if scores.votes else calibration_error(scores.logits, scores.label),
        "per_class": [{"name": name, "n": n, "accuracy": value if n else None} for name, n, value in rows],
        "confusion": confusion.tolist(),
    }  # fmt: skip


def calibration_error(logits: Tensor, label: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017, eq. 3).

    The confidence is the softmax of the predicted class. The distance of mean accuracy and mean confidence in each of
    ``bins`` bins of equal width, (b/B, (b+1)/B], is weighted by its fraction of the clips.

    Args:
        logits: (N, classes).
        label: (N,) int64.
        bins: Number of bins B.
    """
    confidence = logits.double().softmax(1).amax(1)
    gap = (logits.argmax(1) == label).double() - confidence  # accuracy minus confidence
    cell = (confidence * bins).ceil().long().clamp(1, bins) - 1
    return float(torch.zeros(bins, dtype=torch.float64).index_add_(0, cell.cpu(), gap.cpu()).abs().sum() / len(label))
