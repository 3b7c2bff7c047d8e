"""The published cells, checked against nothing but themselves."""

from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from skelssl.core.runs import load_config, write_config
from skelssl.data.ntu.source import NTU
from skelssl.data.pku.source import PKU
from skelssl.results.published import STATUSES, departures, is_full_split, published_cells, targets
from tests.helpers.config import compose

METHODS = {"pstl", "skeleton_contrast", "skeleton2vec", "ha_cm", "mamp"}
DATASETS = {"ntu60_xsub", "ntu60_xview", "ntu120_xsub", "ntu120_xset", "pku1_xsub", "pku2_xsub"}
PROTOCOLS = {"linear", "retrieval", "finetune", "semi", "transfer"}


def test_schema() -> None:
    for cell in published_cells():
        assert cell.method in METHODS
        assert cell.dataset in DATASETS
        assert cell.protocol in PROTOCOLS
        assert cell.stream in {"joint", "motion", "bone", "3s"}
        assert 1 < cell.value < 100  # per cent
        assert cell.status in STATUSES
        assert cell.source
        assert (cell.setting is not None) >= (cell.protocol in {"semi", "transfer"})


def test_no_cell_twice_and_no_source_unused() -> None:
    keys = Counter((c.method, c.dataset, c.protocol, c.stream, c.setting, c.source) for c in published_cells())
    assert set(keys.values()) == {1}
    facts = yaml.safe_load((files("skelssl.results") / "published.yaml").read_text("utf-8"))
    assert set(facts["sources"]) == {cell["source"] for cell in facts["cells"]}


def test_recalled_numbers_are_unverified_and_unverified_ones_are_no_target() -> None:
    unverified = [c for c in published_cells() if c.status == "unverified"]
    assert len(unverified) == 30
    assert {c for c in published_cells() if "recalled" in c.source} == set(unverified)
    for c in unverified:
        shown = targets(c.method, c.dataset, c.protocol, c.stream, c.setting)
        assert all(other.status != "unverified" for other in shown)
    assert targets("pstl", "ntu120_xsub", "linear", "joint") == []


def test_only_the_same_cell_is_a_target() -> None:
    (pstl,) = targets("pstl", "ntu60_xsub", "linear", "joint")
    assert (pstl.value, pstl.tag, pstl.source) == (77.3, "77.3 (second hand)", "DiMoP, Table I")
    assert targets("pstl", "ntu60_xsub", "knn", "joint") == targets("pstl", "ntu60_xsub", "linear", "motion") == []
    assert targets("skeleton_contrast", "ntu60_xsub", "semi", "joint") == []  # which labels? the setting must agree
    assert targets("skeleton_contrast", "ntu60_xsub", "semi", "joint", "20%")[0].value == 70.8


def test_confirmed_comes_first() -> None:
    assert [p.tag for p in targets("mamp", "ntu60_xsub", "linear", "joint")] == ["85.0", "84.9 (second hand)"]


def test_every_cell_of_the_tables_is_here() -> None:
    """Counted in the tables; Skeleton2vec has two curves of ablations."""
    count = Counter((c.method, c.protocol) for c in published_cells())
    assert count == {
        ("pstl", "linear"): 12, ("pstl", "finetune"): 4,
        ("skeleton_contrast", "linear"): 7, ("skeleton_contrast", "retrieval"): 4, ("skeleton_contrast", "semi"): 8,
        ("skeleton_contrast", "transfer"): 4,
        ("skeleton2vec", "linear"): 5 + 4 * 6 - 1 + 2 * 7, ("skeleton2vec", "finetune"): 1,
        ("ha_cm", "linear"): 5,
        ("mamp", "linear"): 10, ("mamp", "finetune"): 12, ("mamp", "semi"): 4, ("mamp", "transfer"): 3,
    }  # fmt: skip


def test_the_clips_of_the_splits_are_those_of_the_sources() -> None:
    for name in ("ntu60", "ntu120"):
        for split, (train, test) in NTU(name).expected()["splits"].items():
            assert is_full_split(f"{name}_{split}", train, test)
            assert not is_full_split(f"{name}_{split}", train, int(0.98 * test))
    for name in ("pku1", "pku2"):
        assert is_full_split(f"{name}_xsub", *PKU(name).facts["splits"]["xsub"]["clips"])
    assert is_full_split("pku2_xsub", 5_332, 1_613)  # the other number in the papers
    assert not is_full_split("synthetic", 432, 288)
    assert not is_full_split("ntu60_xsub", None, 16_487)
    assert {c.dataset for c in published_cells()} == set(DATASETS)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_without_changes_departs_from_nothing(method: str, tmp_path: Path) -> None:
    write_config(tmp_path, compose("train", f"method={method}", "dataset=pku2_xsub", "stream=motion", "seed=3"))
    config = load_config(tmp_path)
    assert departures(config) == ()
    config["method"]["probe"]["linear"]["lr"] = 7.0
    config["trainer"]["limit_train_batches"] = 2
    assert departures(config) == ("method.probe.linear.lr", "trainer.limit_train_batches")
    config["dataset"]["name"] = "mine"
    assert departures(config) == ("dataset",)


def test_a_variant_is_never_the_target_of_the_default() -> None:
    assert [p.value for p in targets("skeleton2vec", "ntu60_xsub", "linear", "joint")] == [85.7]
    assert targets("skeleton2vec", "ntu120_xsub", "finetune", "joint") == []
    assert targets("mamp", "pku2_xsub", "transfer", "joint", "ntu60_xsub") == []  # recalled, so no target
