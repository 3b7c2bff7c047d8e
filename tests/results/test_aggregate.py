"""Rows of a report: which results share one, its statistics, its gap to a published number, and what is rejected."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.results.aggregate import gather_rows
from skelssl.results.read import find_results
from skelssl.results.statistics import paired_difference, seed_statistics
from tests.helpers.results import as_published, write_evaluation


def test_one_run(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "ab12", **as_published())
    (row,) = gather_rows(find_results([tmp_path / "ab12"]))
    assert row.cell == ("pstl", "ntu60_xview", "linear", "paper", None, "joint")
    assert (row.runs, row.seeds, row.n_test) == (("ab12",), (0,), 18_932)
    assert (row.top1, row.best, row.random_init) == (seed_statistics([0.75]), None, seed_statistics([0.25]))
    assert row.mean_class is None
    assert row.gap == pytest.approx(75 - 81.8)
    assert row.difference == (0.5, 0.25, 0.75)
    assert [p.value for p in row.published] == [81.8]


def test_seeds_share_a_row_and_their_clips_are_paired_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    trained, random = rng.random((3, 40)) < 0.8, rng.random((3, 40)) < 0.5
    for seed in range(3):
        order = rng.permutation(40)
        write_evaluation(
            tmp_path / f"run{seed}", seed=seed, correct=trained[seed, order], random=random[seed, order],
            names=[f"clip{i:02d}" for i in order],
        )  # fmt: skip
    (row,) = gather_rows(find_results([tmp_path]))
    assert row.seeds == (0, 1, 2)
    assert row.top1 == pytest.approx(seed_statistics(list(trained.mean(1))))
    assert row.top1[:2] == pytest.approx((trained.mean(), trained.mean(1).std(ddof=1)))
    assert row.difference == paired_difference(trained, random)


def test_run_seeds_count_though_the_evaluation_had_one_seed(tmp_path: Path) -> None:
    for seed in range(2):
        write_evaluation(tmp_path / f"run{seed}", seed=0, config={"seed": seed})
    (row,) = gather_rows(find_results([tmp_path]))
    assert (row.seeds, row.runs) == ((0, 1), ("run0", "run1"))


def test_other_configurations_do_not_share_a_row(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "short", seed=0, config={"epochs": 1, "data_root": "/a"})
    write_evaluation(tmp_path / "long", seed=1, config={"epochs": 9, "data_root": "/b"})
    write_evaluation(tmp_path / "again", seed=2, config={"epochs": 9, "data_root": "/c"})
    assert [r.runs for r in gather_rows(find_results([tmp_path]))] == [("long", "again"), ("short",)]


def test_a_seed_that_comes_twice_is_not_averaged(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_evaluation(tmp_path / name, seed=0)
    assert [r.runs for r in gather_rows(find_results([tmp_path]))] == [("one",), ("two",)]


def test_a_value_that_one_seed_lacks_is_left_empty(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", seed=0)
    write_evaluation(tmp_path / "b", seed=1, random_init_top1=None)
    (row,) = gather_rows(find_results([tmp_path]))
    assert row.random_init is None
    assert row.top1 == (0.75, 0.0, 0.75, 0.75)


def test_seeds_with_other_test_clips_are_refused(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", seed=0)
    write_evaluation(tmp_path / "b", seed=1, names=["w", "x", "y", "z"])
    with pytest.raises(UserError, match="other test clips"):
        gather_rows(find_results([tmp_path]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mode": "clean"}, ("mode",)),
        ({"n_train": 965, "n_test": 516}, ("data",)),  # another set under the name
        ({"overrides": ["method.optim.epochs=6", "method.encoder.hidden=8"]},
         ("method.encoder.hidden", "method.optim.epochs")),
        ({"overrides": ["scale=short", "seed=4"], "mode": "clean"},
         ("mode", "method.head.dim", "method.loader.batch", "method.loss.lambda_", "method.optim.epochs",
          "method.optim.interval", "method.optim.lr", "method.optim.warmup_epochs")),
        ({"recipe": {"fusion": [{"departures": []}, {"departures": ["method.optim.lr"]}]}}, ("method.optim.lr",)),
        ({"recipe": {"fusion": [{}, {"departures": []}]}}, ("recipe.fusion",)),  # nobody knows the other run
    ],
)  # fmt: skip
def test_only_the_published_setting_has_a_gap(tmp_path: Path, change: dict[str, Any], expected: tuple[str]) -> None:
    facts = {**as_published(*change.get("overrides", ())), **change}
    write_evaluation(tmp_path / "run", **facts)
    (row,) = gather_rows(find_results([tmp_path]))
    assert [p.value for p in row.published] == [81.8]  # still shown
    assert (row.departures, row.gap) == (expected, None)


def test_what_is_no_other_setting(tmp_path: Path) -> None:
    free = ("seed=7", "precision=bf16", "method.monitor.k=5", "data_root=/elsewhere", "trainer.accelerator=cpu")
    write_evaluation(tmp_path / "run", **as_published(*free))
    write_evaluation(tmp_path / "unfiltered", **as_published() | {"n_train": 37_920, "n_test": 18_960})
    assert [row.gap for row in gather_rows(find_results([tmp_path]))] == [pytest.approx(75 - 81.8)] * 2


def test_a_file_without_a_run_has_the_published_setting(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "released-1", **as_published())
    (tmp_path / "released-1" / "config.yaml").unlink()
    assert [row.gap for row in gather_rows(find_results([tmp_path]))] == [pytest.approx(75 - 81.8)]


def test_a_published_variant_has_its_own_setting(tmp_path: Path) -> None:
    variant = ("method=skeleton_contrast", "method.mode=intra", "method.pair=[graph]")
    cell = {"method": "skeleton_contrast", "setting": "intra graph"}
    write_evaluation(tmp_path / "a", **as_published(*variant), **cell)
    write_evaluation(tmp_path / "b", **as_published(*variant, "method.loader.batch=256"), **cell)
    found = [(row.gap, row.departures) for row in gather_rows(find_results([tmp_path]))]
    assert found == [(pytest.approx(75 - 72.5), ()), (None, ("method.loader.batch",))]


def test_a_gap_needs_a_number_that_may_be_a_target(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "unverified", dataset="ntu120_xsub", n_train=63_026, n_test=50_919)
    write_evaluation(tmp_path / "quick", **as_published(), setting="2 clips a class")
    assert [(row.gap, row.departures) for row in gather_rows(find_results([tmp_path]))] == [(None, ()), (None, ())]
