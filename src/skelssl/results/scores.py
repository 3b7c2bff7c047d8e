"""What a protocol found out: one row of class scores for every test clip, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Class scores of N test clips. Every figure is exact over clips, never a mean over batches.

    >>> scores = Scores(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]), torch.tensor([7, 9]))
    >>> scores.top1, scores.confusion().tolist()
    (0.5, [[1, 0], [1, 0]])
    """

    logits: Tensor  # (N, classes) float32, larger means likelier; the last epoch's
    label: Tensor  # (N,) int64
    index: Tensor  # (N,) int64, row of the clip in its recipe store
    best_epoch_top1: float | None = None  # best over epochs, chosen on the test set: for comparison only
    votes: bool = False  # the scores count neighbours: no probabilities follow from them
    test_selected: bool = False  # something that made these scores was chosen by the test clips
    extra: Mapping[str, Any] = field(default_factory=dict)  # figures of one protocol alone, plain values

    @property
    def prediction(self) -> Tensor:
        """(N,) int64, the class of the largest score; ties go to the lowest class."""
        return self.logits.argmax(1)

    @property
    def correct(self) -> Tensor:
        """(N,) bool."""
        return self.prediction == self.label

    @property
    def top1(self) -> float:
        """Share of clips whose first guess is right."""
        return _share(self.correct)

    @property
    def top5(self) -> float:
        """Share of clips whose class is among the best min(5, classes).

        A class that ties with the label counts as ranked above it. Otherwise a vote that leaves most classes at zero
        would hand out hits by class number; 1-NN so has top5 = top1.
        """
        own = self.logits.gather(1, self.label[:, None])
        rivals = (self.logits >= own).sum(1) - 1
        return _share(self.correct | (rivals < 5))

    def confusion(self, classes: int | None = None) -> Tensor:
        """(classes, classes) int64 counts: row = true class, column = predicted class."""
        classes = classes or self.logits.shape[1]
        cell = self.label * classes + self.prediction
        return torch.bincount(cell, minlength=classes**2).view(classes, classes)

    @property
    def per_class(self) -> Tensor:
        """(classes,) float64, share of each class's clips that are right; NaN where a class has no test clip."""
        counts = self.confusion().double()
        return counts.diagonal() / counts.sum(1)


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / len(hits)


@dataclass(frozen=True)
class SubsetScores(Scores):
    """Scores after training on part of the labels; ``subset`` says on which, and becomes ``subset.json``."""

    subset: Mapping[str, Any] = field(kw_only=True)
