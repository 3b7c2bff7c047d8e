"""Figures beside accuracy, against loops and against numbers known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from skelssl.results.metrics import calibration_error, score_metrics
from skelssl.results.scores import Scores


def naive_calibration(logits: np.ndarray, label: np.ndarray, bins: int) -> float:
    """Guo et al., eq. 3, clip by clip and bin by bin."""
    error = 0.0
    for b in range(bins):
        members = []
        for row, own in zip(logits, label, strict=True):
            p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
            if b / bins < p.max() <= (b + 1) / bins:
                members.append((p.max(), float(p.argmax() == own)))
        if members:
            sure, right = np.mean(members, axis=0)
            error += len(members) / len(label) * abs(right - sure)
    return error


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_is_the_naive_sum_over_bins(bins: int) -> None:
    g = torch.Generator().manual_seed(0)
    logits, label = 3 * torch.randn(200, 5, generator=g), torch.randint(0, 5, (200,), generator=g)
    expected = naive_calibration(logits.double().numpy(), label.numpy(), bins)
    assert calibration_error(logits, label, bins) == pytest.approx(expected, abs=1e-9)


def test_calibration_by_hand() -> None:
    """Two clips of confidence 0.9, one right: |0.5 - 0.9|. Sure and right costs nothing."""
    odds = math.log(9.0)
    assert calibration_error(torch.tensor([[odds, 0.0], [odds, 0.0]]), torch.tensor([0, 1])) == pytest.approx(0.4)
    assert calibration_error(torch.tensor([[99.0, 0.0]]), torch.tensor([0])) == pytest.approx(0.0, abs=1e-9)


def test_figures_of_classes() -> None:
    """Class 0: two of three right; class 1: the one wrong; class 2 has no clip, but gets a guess."""
    guess, label = [0, 0, 1, 2], torch.tensor([0, 0, 0, 1])
    found = score_metrics(Scores(torch.eye(3)[guess], label, torch.arange(4), test_selected=True), ["a", "b", "c"])
    assert found["per_class"] == [
        {"name": "a", "n": 3, "accuracy": pytest.approx(2 / 3)},
        {"name": "b", "n": 1, "accuracy": 0.0},
        {"name": "c", "n": 0, "accuracy": None},
    ]
    assert found["confusion"] == [[2, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert found["mean_class_accuracy"] == pytest.approx(1 / 3)
    assert found["top1"] == 0.5
    assert found["test_touched_for_selection"] is True


def test_more_or_fewer_names_than_classes() -> None:
    scores = Scores(torch.eye(3), torch.tensor([0, 1, 2]), torch.arange(3))
    for names, shown in ((["a"], ["a", "class 1", "class 2"]), (list("abcd"), list("abc"))):
        assert [row["name"] for row in score_metrics(scores, names)["per_class"]] == shown


def test_votes_are_no_probabilities() -> None:
    votes = Scores(torch.eye(2), torch.tensor([0, 1]), torch.arange(2), votes=True)
    assert score_metrics(votes, ["a", "b"])["calibration_error"] is None
