import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.pretrained.features import Features
from skelssl.protocols.knn import knn


def features(x: Tensor, label: Tensor) -> Features:
    return Features(x, label, torch.arange(len(x)))


def draw(n: int, *, k: int = 2, d: int = 8, classes: int = 4, seed: int = 0) -> Features:
    g = torch.Generator().manual_seed(seed)
    return features(torch.randn(n, k, d, generator=g), torch.randint(0, classes, (n,), generator=g))


def naive_votes(train: Features, test: Features, k: int, temperature: float | None, classes: int) -> np.ndarray:
    """One query at a time, float64, ties by row: what the protocol says, word by word."""
    gallery, queries = (f.x.double().mean(1).numpy() for f in (train, test))
    votes = np.zeros((len(queries), classes))
    for n, query in enumerate(queries):
        norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
        s = gallery @ query / np.maximum(norms, 1e-30)
        nearest = sorted(range(len(s)), key=lambda row: (-s[row].round(9), row))[:k]
        for row in nearest:
            weight = 1.0 if temperature is None else np.exp((s[row] - s.max()) / temperature)
            votes[n, train.label[row]] += weight
    return votes


@pytest.mark.parametrize(("k", "temperature"), [(1, None), (5, None), (5, 0.07), (1, 0.07), (33, 0.5)])
def test_votes_equal_brute_force(k: int, temperature: float | None) -> None:
    train, test = draw(33), draw(21, seed=1)
    found = knn(train, test, k=k, temperature=temperature, chunk=4)
    np.testing.assert_allclose(found.logits, naive_votes(train, test, k, temperature, 4), atol=1e-5)
    assert found.logits.dtype == torch.float32
    assert torch.equal(found.index, test.index)


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(1, 30), st.integers(1, 9), st.integers(0, 999))
def test_ties_go_to_the_lowest_gallery_row(n: int, k: int, chunk: int, seed: int) -> None:
    """Axis vectors have cosines -1, 0 and 1 without rounding, so nearly everything ties."""
    g = torch.Generator().manual_seed(seed)

    def axes(rows: int) -> Features:
        x = torch.zeros(rows, 1, 3)
        x[torch.arange(rows), 0, torch.randint(0, 3, (rows,), generator=g)] = 2.0 ** float(seed % 5 - 2)
        return features(x * torch.randint(-1, 2, (rows, 1, 1), generator=g), torch.arange(rows) % 5)

    train, test = axes(n), axes(7)
    k = min(k, n)
    found = knn(train, test, k=k, classes=5, chunk=chunk)
    np.testing.assert_array_equal(found.logits, naive_votes(train, test, k, None, 5))


@pytest.mark.parametrize("queries", [1, 2, 7, 64])
@pytest.mark.parametrize("k", [1, 3])
def test_identical_gallery_rows_tie_wherever_they_stand(queries: int, k: int) -> None:
    """A matrix product gives equal columns unequal last bits at its edges; the lowest rows must win all the same."""
    n = 1001
    x = torch.nn.functional.normalize(torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(3)), dim=2)
    found = knn(features(x.expand(n, 1, 64), torch.arange(n)), draw(queries, d=64), k=k)
    assert found.logits.nonzero()[:, 1].unique().tolist() == list(range(k))


def test_the_answer_does_not_depend_on_the_chunk() -> None:
    train, test = draw(200, d=32), draw(50, d=32, seed=1)
    whole = knn(train, test, k=7, temperature=0.1)
    assert torch.allclose(knn(train, test, k=7, temperature=0.1, chunk=3).logits, whole.logits, atol=1e-5)
    assert whole.logits.sum(1).max() > 1.5  # several neighbours do vote


def test_length_does_not_matter_and_clips_are_averaged_before() -> None:
    train = features(torch.tensor([[[1.0, 0.0]], [[0.6, 0.8]]]), torch.tensor([0, 1]))
    # The clips' directions point to class 0 twice and class 1 once; their mean points to class 1.
    test = features(torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 9.0]]]), torch.tensor([1]))
    assert knn(train, test).top1 == 1.0
    assert knn(features(train.x * 50, train.label), test).top1 == 1.0


def test_a_small_temperature_neither_overflows_nor_changes_the_nearest() -> None:
    train, test = draw(40), draw(10, seed=1)
    cold = knn(train, test, k=40, temperature=1e-6)
    assert cold.logits.isfinite().all()
    assert torch.equal(cold.prediction, knn(train, test).prediction)


def test_a_faster_global_precision_is_neither_used_nor_changed() -> None:
    train, test = draw(64, d=256), draw(16, d=256, seed=1)
    want = knn(train, test, k=5, temperature=0.01).logits
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(knn(train, test, k=5, temperature=0.01).logits, want)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 0}, r"probe\.knn\.k: found 0, expected a whole number of 1 to 9"),
        ({"k": 10}, r"probe\.knn\.k: found 10, expected a whole number of 1 to 9"),
        ({"k": 1.5}, r"probe\.knn\.k: found 1\.5, expected a whole number"),
        ({"temperature": "warm"}, r"probe\.knn\.temperature: found 'warm', expected a number above 0"),
        ({"temperature": 0.0}, r"probe\.knn\.temperature: found 0\.0, expected a number above 0"),
    ],
)
def test_bad_options(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        knn(draw(9), draw(3), **options)
