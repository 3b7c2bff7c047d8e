"""Semi-supervised evaluation as a user runs it: which labels it uses, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.pages.report import collect
from skelssl.protocols.bench import evaluate
from skelssl.protocols.finetune import finetune
from skelssl.protocols.plan import read_protocols
from skelssl.protocols.semi import semi
from skelssl.protocols.subsets import draw_subset
from skelssl.results.record import summarise
from skelssl.training.afterwards import evaluate_run
from skelssl.training.loop import train
from tests.helpers.config import compose, train_config
from tests.protocols.test_finetune import frozen_of, published


@pytest.fixture(scope="module")
def run(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(train_config(data_root, "method=mamp", "callbacks.probe=null"), folder)
    return folder


def ask(data_root: Path, run: Path, *overrides: str, protocol: str = "semi") -> list[dict[str, Any]]:
    place = (f"protocol={protocol}", f"checkpoint='{run}'", f"data_root='{data_root}'", "limit.epochs=1")
    config = compose("evaluate", *place, *overrides)
    return [done.result for done in evaluate(config, [config["protocol"]])]


def test_it_is_a_fine_tuning_on_the_drawn_clips(run: Path, data_root: Path) -> None:
    frozen, recipe = frozen_of(run, data_root, limit=None), published("mamp", epochs=1, warmup_epochs=0)
    found = semi(frozen, {**recipe, "ratio": 0.5, "select": "uniform"}, seed=4)
    store, rows = frozen.data.store, frozen.rows["train"]
    expected = draw_subset([store.names[i] for i in rows], store.labels[rows], 0.5, 4, "uniform")
    assert found.subset["names"] == expected
    frozen.rows["train"] = store.rows(expected)
    assert (finetune(frozen, recipe, seed=4).logits == found.logits).all()


def test_a_result_says_which_labels_it_used(run: Path, data_root: Path) -> None:
    (result,) = ask(data_root, run, "ratio=0.5", "select=stratified")
    assert (result["n_train"], result["labels_used"]) == (36, 16)  # round(4.5) = 4 of 9 clips of each of 4 classes
    assert result["setting"] == "50%, stratified, 1 probe epochs"  # MAMP's own way is uniform
    assert result["random_init_top1"] is None
    folder = next(p.parent for p in run.glob("eval/semi/*/result.json") if read_json(p) == result)
    subset = read_json(folder / "subset.json")
    assert {key: subset[key] for key in ("dataset", "ratio", "select", "seed", "n_train")} == {
        "dataset": "synthetic", "ratio": 0.5, "select": "stratified", "seed": 0, "n_train": 36}  # fmt: skip
    assert len(set(subset["names"])) == 16
    assert not set(subset["names"]) & set(np.load(folder / "scores.npz")["names"])
    assert {file.name for file in folder.iterdir()} == {"result.json", "scores.npz", "subset.json"}


def test_several_shares_and_seeds(run: Path, data_root: Path) -> None:
    """Each seed draws labels of its own; a share has one summary."""
    results = ask(data_root, run, "ratio=[0.4,0.8]", "seeds=[0,1,2]")
    assert [(r["setting"], r["seed"], r["labels_used"]) for r in results] == [
        (f"{share}%, 1 probe epochs", seed, count) for share, count in ((40, 14), (80, 28)) for seed in (0, 1, 2)
    ]
    subsets = [read_json(p) for p in run.glob("eval/semi/*/subset.json")]
    assert len({tuple(s["names"]) for s in subsets if s["ratio"] == 0.4}) == 3
    summaries = [read_json(p) for p in run.glob("eval/semi/*/summary.json")]
    assert len(summaries) == 2
    for summary in summaries:
        assert summary["seeds"] == [0, 1, 2]
        own = summary["top1"]
        half = 4.302653 * own["sd"] / 3**0.5  # Student's t, two degrees of freedom
        assert (own["low"], own["high"]) == pytest.approx((own["mean"] - half, own["mean"] + half), rel=1e-5)


@pytest.mark.parametrize(("n", "t"), [(2, 12.706205), (3, 4.302653), (5, 2.776445), (10, 2.262157), (30, 2.045230)])
def test_the_interval_over_seeds_is_students(n: int, t: float) -> None:
    values = np.linspace(0.2, 0.8, n) ** 2
    keys = ("method", "dataset", "protocol", "mode", "stream")
    results = [dict.fromkeys(keys, "x") | {"seed": i, "top1": v, "top5": None, "random_init_top1": None}
               for i, v in enumerate(values)]  # fmt: skip
    found = summarise(results)["top1"]
    half = t * values.std(ddof=1) / n**0.5
    assert (found["low"], found["high"]) == pytest.approx(
        (values.mean() - half, values.mean() + half), rel=1e-6, abs=1e-7
    )


def test_a_published_cell_stands_beside_its_own_share() -> None:
    """The setting of a result is the published table's: one share never meets another's number."""
    from skelssl.results.published import targets

    assert [p.value for p in targets("skeleton_contrast", "ntu60_xsub", "semi", "joint", "20%")] == [70.8]
    assert not targets("skeleton_contrast", "ntu60_xsub", "semi", "joint", "10%")


def test_smoke_and_then(run: Path, data_root: Path) -> None:
    """A few clips a class: the smallest share that gives every class one, also after a training."""
    (result,) = ask(data_root, run, "debug=smoke", "select=stratified", "limit.epochs=2")
    assert (result["n_train"], result["labels_used"]) == (8, 4)
    assert result["setting"] == "smallest share of labels, stratified, 2 clips a class, 2 probe epochs"
    evaluate_run(run, read_protocols("semi"), train_config(data_root, "method=mamp"))
    subsets = [read_json(p) for p in run.glob("eval/semi/*/subset.json") if read_json(p)["n_train"] == 8]
    assert sorted(s["ratio"] for s in subsets if s["select"] == "stratified") == [0.2501]
    assert collect([run]).rows


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["ratio=0.05"], "ratio: found 0.05, which leaves 3 of 4 classes without a clip"),
        (["ratio=2"], "ratio: found 2, expected a number above 0 and up to 1, or smallest"),
        (["ratio=all"], "ratio: found 'all', expected a number above 0"),
        (["select=fair"], "select: found 'fair', expected one of stratified, uniform"),
    ],
)
def test_mistakes(run: Path, data_root: Path, overrides: list[str], sentence: str) -> None:
    before = sorted(run.glob("eval/semi/*/*"))
    with pytest.raises(UserError, match=sentence):
        ask(data_root, run, *overrides)
    assert sorted(run.glob("eval/semi/*/*")) == before


def test_a_share_of_labels_is_refused_where_all_are_used(run: Path, data_root: Path) -> None:
    for protocol, override in (("finetune", "ratio=0.1"), ("knn", "select=uniform")):
        key = override.partition("=")[0]
        with pytest.raises(UserError, match=f"expected null: there is no {key} in {protocol}"):
            ask(data_root, run, override, protocol=protocol)
