"""Every kind of collapse trips its own alarm, healthy features trip none, and ranks make no difference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.losses.collapse import (
    Alarm,
    collapse_metrics,
    effective_rank,
    moments,
    over_ranks,
    products,
    token_std,
    unit_std,
)
from skelssl.losses.contextual import Contextual
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.ranks import run_ranks

PERSONS, TOKENS, HIDDEN, WIDTH = 40, 30, 20, 32


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def case(kind: str) -> tuple[Contextual, Tensor, Tensor, Tensor]:
    """Targets, predictions and presence of a batch; every fifth person is absent and would spoil any figure."""
    value = {
        "healthy": noise(PERSONS, TOKENS, WIDTH),
        "constant": torch.full((PERSONS, TOKENS, WIDTH), 0.7),
        "position": noise(1, TOKENS, WIDTH).expand(PERSONS, -1, -1) + 0.01 * noise(PERSONS, TOKENS, WIDTH, seed=1),
    }[kind].clone()
    present = torch.arange(PERSONS) % 5 != 0
    value[~present] = 1e3
    index = noise(PERSONS, TOKENS, seed=2).argsort(1)[:, :HIDDEN]
    target = Contextual(value, present, torch.arange(PERSONS), value.mean(1), value.var(1, correction=0))
    aim = target.at(index)
    return target, 0.9 * aim + 0.1 * noise(*aim.shape, seed=3), aim, target.presence(PERSONS)


def rows(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """This rank's share."""
    target, *rest = parts
    mine = slice(rank() * PERSONS // world_size(), (rank() + 1) * PERSONS // world_size())
    own = Contextual(*(part[mine] for part in target))
    return own._replace(row=torch.arange(len(own.row))), *(part[mine] for part in rest)


def read(kind: str) -> dict[str, float]:
    target, prediction, aim, presence = rows(case(kind))
    found = {name: float(value) for name, value in collapse_metrics(target, prediction, aim, presence).items()}
    return {**found, "effective_rank": float(effective_rank(over_ranks(products(target.mean[target.present]))))}


def tripped(found: dict[str, float]) -> set[str]:
    names = set()
    for name, value in found.items():
        try:
            with pytest.warns(UserWarning, match=f"train/{name}: found"):
                Alarm(abort=False).check({name: value}, 5000)
            names.add(name)
        except pytest.fail.Exception:
            continue
    return names


def test_healthy_features_trip_nothing() -> None:
    found = read("healthy")
    assert tripped(found) == set()
    assert found["target_std"] == pytest.approx(1, abs=0.05)
    assert found["cross_sample_std"] == pytest.approx(1, abs=0.05)
    assert found["position_r2"] == pytest.approx(1 / 32, abs=0.02)  # of 32 persons, by chance
    assert found["loss_present"] == pytest.approx(0.02, abs=0.002)
    assert found["prediction_skill"] == pytest.approx(0.98, abs=0.005)
    assert found["effective_rank"] > 20


def test_constant_targets_trip_the_scalar_of_data2vec() -> None:
    found = read("constant")
    assert found["target_std"] == pytest.approx(1e-3, rel=0.01)  # the root of its 1e-6
    assert found["raw_token_std"] == pytest.approx(0, abs=1e-5)
    assert {"target_std", "raw_token_std", "cross_sample_std"} <= tripped(found)


def test_features_of_the_position_alone_trip_their_own_alarms() -> None:
    found = read("position")
    assert found["target_std"] == pytest.approx(1, abs=0.1)
    assert found["cross_sample_std"] == pytest.approx(0.01, rel=0.05)
    assert found["position_r2"] > 0.999
    assert {"cross_sample_std", "position_r2", "prediction_skill"} <= tripped(found)
    assert "target_std" not in tripped(found)


def test_figures_by_hand() -> None:
    target, prediction, aim, presence = case("healthy")
    found = collapse_metrics(target, prediction, aim, presence)
    there = target.present
    value = target.value[there]
    within = value.var(0, correction=0)
    total = value.flatten(0, 1).var(0, correction=0)
    expected = {
        "target_std": (aim[there].flatten(0, 1).var(0) + 1e-6).sqrt().mean(),
        "prediction_std": (prediction[there].flatten(0, 1).var(0) + 1e-6).sqrt().mean(),
        "raw_token_std": value.std(1, correction=0).mean(),
        "cross_sample_std": value.std(0).mean(),
        "position_r2": 1 - within.mean() / total.mean(),
        "loss_present": (prediction - aim)[there].square().mean(),
        "loss_absent": (prediction - aim)[~there].square().mean(),
    }
    expected["prediction_skill"] = 1 - expected["loss_present"] / within.mean()
    assert found.keys() == expected.keys()
    for name, figure in expected.items():
        torch.testing.assert_close(found[name], figure, rtol=1e-4, atol=1e-6, msg=name)


def test_two_ranks_equal_one() -> None:
    one = read("healthy")
    for result in run_ranks(read, 2, "healthy"):
        assert result == pytest.approx(one, rel=1e-4)


def test_bfloat16_and_autocast_do_not_blur_the_figures() -> None:
    target, prediction, aim, presence = case("healthy")
    plain = collapse_metrics(target, prediction.bfloat16().float(), aim, presence)
    with torch.autocast("cpu", torch.bfloat16):
        found = collapse_metrics(target, prediction.bfloat16(), aim, presence)
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_moments_of_nothing_and_of_one() -> None:
    y = noise(3, 4)
    for weight, count in (([0, 0, 0], 1), ([0, 1, 0], 1)):
        mean, squares, found = moments(y, torch.tensor(weight).float())
        assert torch.equal(mean, y[1] * weight[1])
        assert not squares.any()
        assert found == count
    assert token_std(y[:, None], torch.tensor([0.0, 1.0, 0.0])) == pytest.approx(1e-3)


def test_effective_rank() -> None:
    eye = torch.eye(8, dtype=torch.float64).repeat(4, 1)
    assert effective_rank(products(eye)) == pytest.approx(7)  # eight directions, less the mean
    assert effective_rank(products(noise(50, 1) @ noise(1, 6) + 5)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(products(torch.full((50, 20), 0.7))) == 1


def test_only_those_who_are_there_count_in_the_products():
    rows, there = noise(9, 5), torch.tensor([1, 0, 1, 1, 0, 0, 1, 1, 1], dtype=torch.bool)
    torch.testing.assert_close(products(rows, there), products(rows[there]), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_effective_rank_is_that_of_all_batches_together(offset: float) -> None:
    """Against singular values of the centred features, also where these are small beside their mean."""
    batches = [noise(n, 16, seed=n).double() * torch.linspace(0.01, 1, 16) + offset for n in (20, 3, 9)]
    values = torch.linalg.svdvals(torch.cat(batches) - torch.cat(batches).mean(0))
    share = values / values.sum()
    expected = float((-(share * share.log()).sum()).exp())
    assert float(effective_rank(sum(map(products, batches), torch.zeros(())))) == pytest.approx(expected, rel=1e-6)


def test_only_the_two_of_data2vec_end_a_run_and_only_late() -> None:
    alarm = Alarm()
    alarm.check({"target_std": 0.0, "loss": 1.0}, 4999)
    message = r"train/target_std: found 0\.05 after 5000 steps, expected at least 0\.1: the features have collapsed"
    with pytest.raises(UserError, match=message):
        alarm.check({"target_std": 0.05}, 5000)
    with pytest.raises(UserError, match="prediction_std"):
        alarm.check({"prediction_std": float("nan")}, 5000)
    with pytest.warns(UserWarning, match=r"position_r2: found 0\.99 after 6000 steps, expected at most 0\.95"):
        alarm.check({"position_r2": 0.99, "target_std": 0.9}, 6000)


def test_unit_std_is_0_for_one_direction_and_1_for_all():
    generator = torch.Generator().manual_seed(0)
    everywhere = torch.randn(4000, 16, generator=generator)
    assert float(unit_std(everywhere)) == pytest.approx(1.0, abs=0.02)
    one_way = torch.arange(1.0, 9.0)[:, None] * torch.randn(16, generator=generator)  # longer and longer
    assert float(unit_std(one_way)) == pytest.approx(0.0, abs=1e-6)
