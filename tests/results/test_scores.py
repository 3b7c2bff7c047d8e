import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelssl.results.scores import Scores


def scores(logits: torch.Tensor, label: torch.Tensor) -> Scores:
    return Scores(logits, label, torch.arange(len(label)))


@given(st.integers(1, 9), st.integers(1, 8), st.integers(0, 99))
def test_figures_equal_a_count_by_hand(n: int, classes: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits, label = torch.randn(n, classes, generator=g), torch.randint(0, classes, (n,), generator=g)
    found = scores(logits, label)
    ranked = [sorted(range(classes), key=lambda c: -row[c]) for row in logits.tolist()]
    firsts = [order[0] for order in ranked]
    assert found.top1 == sum(f == y for f, y in zip(firsts, label.tolist(), strict=True)) / n
    assert found.top5 == sum(y in order[:5] for order, y in zip(ranked, label.tolist(), strict=True)) / n
    table = [[0] * classes for _ in range(classes)]
    for y, first in zip(label.tolist(), firsts, strict=True):
        table[y][first] += 1
    assert found.confusion().tolist() == table


def test_top5_gives_nothing_to_classes_without_a_vote() -> None:
    votes = torch.zeros(2, 10)
    votes[:, 7] = 1
    found = scores(votes, torch.tensor([7, 0]))
    assert (found.top1, found.top5) == (0.5, 0.5)


def test_top5_counts_a_first_guess_that_won_a_tie() -> None:
    assert scores(torch.zeros(1, 10), torch.tensor([0])).top5 == 1.0


def test_per_class_is_nan_where_nothing_was_tested() -> None:
    found = scores(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 0, 1])).per_class
    assert found[:2].tolist() == [0.5, 1.0]
    assert math.isnan(found[2])


def test_confusion_may_be_wider_than_the_logits() -> None:
    assert scores(torch.eye(2), torch.tensor([0, 1])).confusion(3).diagonal().tolist() == [1, 1, 0]


def test_shares_are_exact_over_clips_not_batches() -> None:
    label = torch.zeros(7, dtype=torch.int64)
    logits = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 2)
    assert scores(logits, label).top1 == pytest.approx(5 / 7, abs=0)
