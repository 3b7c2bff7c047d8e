"""What accuracy alone leaves open: which classes are learnt, what is taken for what, and how sure the scores are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skelssl.results.scores import Scores

BINS = 15


def score_metrics(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Every figure of a result that follows from its scores: fractions, and counts of test clips.

    ``per_class`` and ``confusion`` (rows true, columns predicted) are in the order of the classes. A class without test
    clips has no accuracy and no part in ``mean_class_accuracy``. Votes are no probabilities: they have no
    ``calibration_error``.
    """
    confusion = scores.confusion()
    share, clips = scores.per_class, confusion.sum(1)
    # dataset.classes may say more or fewer than there are names
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
    """Expected calibration error of (N, classes) logits (Guo et al., ICML 2017, eq. 3).

    The softmax of the first guess is its confidence. Each of ``bins`` bins of equal width, (b/B, (b+1)/B], weighs the
    distance of its mean accuracy from its mean confidence by its share of the clips.
    """
    sure = logits.double().softmax(1).amax(1)
    surplus = (logits.argmax(1) == label).double() - sure
    cell = (sure * bins).ceil().long().clamp(1, bins) - 1
    return float(
        torch.zeros(bins, dtype=torch.float64).index_add_(0, cell.cpu(), surplus.cpu()).abs().sum() / len(label)
    )
