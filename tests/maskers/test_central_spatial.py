"""Central spatial masking: exact law of the multiset draw, by combinatorics and by counting."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import comb, sqrt
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelssl.core.errors import UserError
from skelssl.maskers.central_spatial import CentralSpatialMask
from skelssl.skeleton.layout import load_layout

BODY = load_layout("ntu25")
DEGREE = [3, 2, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 1, 4, 1, 2, 1, 2]


def draws(mask: CentralSpatialMask, n: int) -> torch.Tensor:
    """(n, V) one where a joint is dropped."""
    generator = torch.Generator().manual_seed(7)
    hit = torch.zeros(n, 25, dtype=torch.bool)
    for row in hit:
        row[mask(generator)] = True
    return hit


def assert_shares(hit: torch.Tensor, expected: torch.Tensor) -> None:
    """Every share within five standard errors."""
    error = 5 * (expected * (1 - expected) / len(hit)).sqrt() + 1e-9
    assert ((hit.double().mean(0) - expected).abs() <= error).all()


def test_degrees_are_those_of_the_paper() -> None:
    assert BODY.degree.tolist() == DEGREE


@pytest.mark.parametrize(
    ("m", "marginal", "distinct"),
    [
        (8, (0.1667, 0.3085, 0.4288, 0.5303), {4: 0.0002, 5: 0.0086, 6: 0.1050, 7: 0.4176, 8: 0.4685}),
        (9, (0.1875, 0.3431, 0.4716, 0.5773), {5: 0.0009, 6: 0.0212, 7: 0.1621, 8: 0.4464, 9: 0.3693}),
    ],
)
def test_multiset_follows_the_exact_law(m: int, marginal: tuple[float, ...], distinct: dict[int, float]) -> None:
    exact = [1 - comb(48 - degree, m) / comb(48, m) for degree in (1, 2, 3, 4)]
    assert exact == pytest.approx(marginal, abs=5e-5)
    hit = draws(CentralSpatialMask(mask_joint=m), 12_000)
    assert_shares(hit, torch.tensor([exact[degree - 1] for degree in DEGREE], dtype=torch.float64))
    counts = hit.sum(1)
    assert int(counts.max()) <= m
    for number, share in distinct.items():
        error = 5 * sqrt(share * (1 - share) / len(hit)) + 1e-4
        assert float((counts == number).double().mean()) == pytest.approx(share, abs=error)


def test_an_injected_draw_gives_its_joints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries 0-2 of the bag are joint 0, the next two joint 1; joint 20 fills entries 38-41, joint 24 the last two."""
    order = torch.tensor([47, 1, 0, 38, 3, 39, 41, 4, *range(5, 38)])
    monkeypatch.setattr(torch, "randperm", lambda n, generator: order)
    assert CentralSpatialMask(mask_joint=8)() == [0, 1, 20, 24]


def test_distinct_follows_sequential_weighted_draws() -> None:
    """Two joints: P(i goes) = w_i + Σ_{j≠i} w_j · w_i / (1 - w_j), summed exactly over all ordered pairs."""
    weight = [Fraction(degree, 48) for degree in DEGREE]
    exact = [Fraction(0)] * 25
    for i, j in permutations(range(25), 2):
        p = weight[i] * weight[j] / (1 - weight[i])
        exact[i] += p
        exact[j] += p
    hit = draws(CentralSpatialMask(mask_joint=2, sampling="distinct"), 12_000)
    assert (hit.sum(1) == 2).all()
    assert_shares(hit, torch.tensor([float(p) for p in exact], dtype=torch.float64))


def test_random_treats_joints_alike() -> None:
    hit = draws(CentralSpatialMask(mask_joint=9, sampling="random"), 6_000)
    assert (hit.sum(1) == 9).all()
    assert_shares(hit, torch.full((25,), 9 / 25, dtype=torch.float64))


def test_part_drops_whole_parts_alike() -> None:
    parts = [set(members) for members in BODY.parts.values()]
    generator = torch.Generator().manual_seed(1)
    seen = [0] * 5
    for _ in range(2_000):
        dropped = set(CentralSpatialMask(mask_part=2, sampling="part")(generator))
        inside = [part <= dropped for part in parts]
        assert sum(inside) == 2
        assert dropped == set().union(*(part for part, whole in zip(parts, inside, strict=True) if whole))
        seen = [count + whole for count, whole in zip(seen, inside, strict=True)]
    assert all(abs(count - 800) < 5 * sqrt(2000 * 0.4 * 0.6) for count in seen)


@given(m=st.integers(1, 24), sampling=st.sampled_from(["multiset", "distinct", "random"]), seed=st.integers(0, 2**32))
def test_sorted_unique_repeatable_and_never_everything(m: int, sampling: str, seed: int) -> None:
    mask = CentralSpatialMask(mask_joint=m, sampling=sampling)
    dropped = mask(torch.Generator().manual_seed(seed))
    assert dropped == sorted(set(dropped)) == mask(torch.Generator().manual_seed(seed))
    assert 1 <= len(dropped) <= m
    assert set(dropped) <= set(range(25))
    if sampling != "multiset":
        assert len(dropped) == m


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampling": "degree"}, r"csm\.sampling: found 'degree', expected one of multiset, distinct, random, part"),
        ({"mask_joint": 25}, r"csm\.mask_joint: found 25, expected 1 to 24"),
        ({"mask_joint": 0}, r"csm\.mask_joint: found 0, expected 1 to 24"),
        ({"mask_part": 5}, r"csm\.mask_part: found 5, expected 1 to 4"),
        ({"layout": "ntu26"}, "layout: found 'ntu26'"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        CentralSpatialMask(**options)
