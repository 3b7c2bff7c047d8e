"""Define what a protocol returns: class scores of every test clip, and the accuracies that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Class scores of N test clips. Every metric is exact over clips, never a mean over batches.

    >>> scores = Scores(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]), torch.tensor([7, 9]))
    >>> scores.top1, scores.confusion().tolist()
    (0.5, [[1, 0], [1, 0]])
    """

    logits: Tensor  # (N, classes) float32 of the last epoch, larger is more likely
    label: Tensor  # (N,) int64
    index: Tensor  # (N,) int64, row of the clip in its recipe store
    best_epoch_top1: float | None = None  # best over epochs, chosen on the test set: for comparison only
    votes: bool = False  # scores are counts of neighbours, from which no probabilities follow
    test_selected: bool = False  # something was selected on the test clips
    extra: Mapping[str, Any] = field(default_factory=dict)  # metrics of one protocol alone, plain values

    @property
    def prediction(self) -> Tensor:
        """Class of the largest score, (N,) int64; ties go to the lowest class."""
        return self.logits.argmax(1)

    @property
    def correct(self) -> Tensor:
        """Whether the prediction is the label, (N,) bool."""
        return self.prediction == self.label

    @property
    def top1(self) -> float:
        """Fraction of clips whose predicted class is the label."""
        return _fraction(self.correct)

    @property
    def top5(self) -> float:
        """Fraction of clips whose label is among the best min(5, classes).

        A class that ties with the label is ranked above it. Otherwise votes, which leave most classes at zero, would
        score hits by class number. So 1-NN has top5 = top1.
        """
        own = self.logits.gather(1, self.label[:, None])
        rivals = (self.logits >= own).sum(1) - 1
        return _fraction(self.correct | (rivals < 5))

    def confusion(self, classes: int | None = None) -> Tensor:
        """Return (classes, classes) int64 counts: row = true class, column = predicted class."""
        classes = classes or self.logits.shape[1]
        cell = self.label * classes + self.prediction
        return torch.bincount(cell, minlength=classes**2).view(classes, classes)

    @property
    def per_class(self) -> Tensor:
        """Accuracy of each class, (classes,) float64; NaN where a class has no test clip."""
        counts = self.confusion().double()
        return counts.diagonal() / counts.sum(1)


def _fraction(hits: Tensor) -> float:
    return int(hits.sum()) / len(hits)


@dataclass(frozen=True)
class SubsetScores(Scores):
    """Scores after training on a fraction of the labels; ``subset`` names the clips and becomes ``subset.json``."""

    subset: Mapping[str, Any] = field(kw_only=True)
