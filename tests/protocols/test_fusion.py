"""Fusion of runs: the sum by name, the weights, and what must not be added up."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.pages.report import collect
from skelssl.protocols.bench import evaluate
from skelssl.protocols.fusion import (
    RunScores,
    fuse_runs,
    fuse_scores,
    fused_stream_name,
    fusion_weights,
    read_run_scores,
)
from skelssl.results.published import targets
from skelssl.training.loop import train
from tests.helpers.config import compose, train_config

STREAMS = ("joint", "motion", "bone")
PUBLISHED = {"joint": 0.6, "bone": 0.6, "motion": 0.4}


@pytest.fixture(scope="module")
def runs(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run of each stream, in folders with awkward names."""
    folders = [tmp_path_factory.mktemp("runs") / f"a {stream}, (1)=x" for stream in STREAMS]
    for stream, folder in zip(STREAMS, folders, strict=True):
        train(train_config(data_root, f"stream={stream}", "callbacks.probe=null"), folder)
    return folders


def ask(data_root: Path, runs: list[Path], *overrides: str) -> list[dict[str, Any]]:
    listed = ",".join(f"'{run}'" for run in runs)
    place = ("protocol=fusion", f"checkpoint=[{listed}]", f"data_root='{data_root}'", "limit.epochs=2")
    return [done.result for done in fuse_runs(compose("evaluate", *place, *overrides))]


def part(names: str = "abc", seed: int = 0, random: bool = True, classes: int = 4) -> RunScores:
    dice = np.random.default_rng(seed)
    scores = [dice.normal(size=(len(names), classes)).astype(np.float32) for _ in range(2)]
    return RunScores(
        Path(f"run{seed}"), np.array(list(names)), np.arange(len(names)) % 3, scores[0], scores[1] if random else None
    )


def test_it_is_the_weighted_sum() -> None:
    parts, weights = [part(seed=s) for s in range(3)], [0.5, 2.0, -1.0]
    trained, random = fuse_scores(parts, weights)
    for n in range(3):
        for c in range(4):
            assert float(trained.logits[n, c]) == pytest.approx(
                sum(w * p.logits[n, c] for w, p in zip(weights, parts, strict=True)), abs=1e-6
            )
    assert random is not None
    assert random.logits[1, 2] == pytest.approx(
        sum(w * p.random_init[1, 2] for w, p in zip(weights, parts, strict=True) if p.random_init is not None), abs=1e-6
    )
    assert fuse_scores([part(), part(seed=1, random=False)], [1, 1])[1] is None


def test_rows_are_joined_by_name(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, order in ((one, [0, 1, 2]), (two, [2, 0, 1])):
        folder.mkdir()
        names, labels, logits = np.array(["x", "y", "z"]), np.arange(3), np.eye(3, dtype=np.float32)
        np.savez(folder / "scores.npz", names=names[order], labels=labels[order], logits=logits[order])
    assert fuse_scores([read_run_scores(one), read_run_scores(two)], [1, 1])[0].top1 == 1.0


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            part("abd", 1),
            r"found 2 test clips in only one of run0 and run1 \(the first is c\), expected the same clips",
        ),
        (part("abc", 1, classes=5), r"found 5 classes in run1, expected the 4 of run0"),
        (
            RunScores(Path("run1"), np.array(list("abc")), np.array([0, 1, 1]), *[np.zeros((3, 4), np.float32)] * 2),
            "found c with label 1 in run1, expected 2 as in run0",
        ),
    ],
)
def test_what_does_not_belong_together(other: RunScores, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        fuse_scores([part(), other], [1, 1])


def test_weights() -> None:
    assert fusion_weights(None, PUBLISHED, ["joint", "motion", "bone"]) == [0.6, 0.4, 0.6]
    assert fusion_weights(None, PUBLISHED, ["bone", "bone"]) == [1, 1]
    assert fusion_weights([1, 0.5], PUBLISHED, ["joint", "motion"]) == [1, 0.5]
    for wrong in ([1], [0, 0], [1, "x"], [1, float("nan")], 3):
        with pytest.raises(UserError, match=r"weights: found .*, expected 2 numbers, one for each checkpoint"):
            fusion_weights(wrong, PUBLISHED, ["joint", "motion"])
    with pytest.raises(UserError, match="weights: found none for stream depth"):
        fusion_weights(None, PUBLISHED, ["joint", "depth"])
    assert fused_stream_name(["motion", "bone", "joint"]) == "3s"
    assert fused_stream_name(["joint", "bone"]) == "bone+joint"
    assert fused_stream_name(["joint", "joint"]) == "joint"


def test_three_streams_as_a_user_fuses_them(runs: list[Path], data_root: Path) -> None:
    (result,) = ask(data_root, runs)
    expected = {
        "method": "pstl", "dataset": "synthetic", "protocol": "linear", "mode": "paper", "stream": "3s",
        "setting": "2 probe epochs", "n_test": 12, "n_train": 36,
    }  # fmt: skip
    assert {key: result[key] for key in expected} == expected
    sources = result["recipe"]["fusion"]
    assert [(s["stream"], s["weight"]) for s in sources] == [("joint", 0.6), ("motion", 0.4), ("bone", 0.6)]
    folder = next(iter(runs[0].glob("eval/fusion/*/scores.npz"))).parent
    inner = [next(iter(run.glob("eval/linear/*/scores.npz"))).parent for run in runs]
    assert [s["result"] for s in sources] == [f.name for f in inner]
    said = [np.load(f / "scores.npz") for f in inner]
    fused = np.load(folder / "scores.npz")
    for name, logits in zip(fused["names"], fused["logits"], strict=True):
        wanted = sum(w * f["logits"][list(f["names"]).index(name)] for w, f in zip((0.6, 0.4, 0.6), said, strict=True))
        np.testing.assert_allclose(logits, wanted, rtol=1e-5)
    assert result["top1"] == np.mean(fused["logits"].argmax(1) == fused["labels"])
    assert result["random_init_top1"] == np.mean(fused["random_init_logits"].argmax(1) == fused["labels"])
    assert result["classes_without_training"] == 0
    singles = [read_json(f / "result.json") for f in inner]
    assert result["encoder"]["parameters"] == 3 * singles[0]["encoder"]["parameters"]
    assert result["encoder"]["gflops"] == pytest.approx(sum(s["encoder"]["gflops"] for s in singles))
    assert result["encoder"]["convention"] == singles[0]["encoder"]["convention"]
    digests = "".join(s["checkpoint_sha256"] for s in singles)
    assert result["checkpoint_sha256"] == hashlib.sha256(digests.encode()).hexdigest()
    assert all("trainer.limit_train_batches" in s["departures"] for s in sources)  # runs of debug=smoke
    assert any(row.cell.stream == "3s" for row in collect([runs[0]]).rows)
    assert [p.value for p in targets("pstl", "ntu60_xsub", "linear", "3s", None)] == [79.1]


def test_what_stands_is_read(runs: list[Path], data_root: Path) -> None:
    ask(data_root, runs, "protocol.of=knn", "k=3")
    times = {p: p.stat().st_mtime_ns for run in runs for p in run.glob("eval/knn/*/result.json")}
    (result,) = ask(data_root, runs, "protocol.of=knn", "k=3", "weights=[1,1,2]")
    assert times == {p: p.stat().st_mtime_ns for run in runs for p in run.glob("eval/knn/*/result.json")}
    assert result["setting"] == "k 3, 2 probe epochs, weights 1 1 2"


def test_several_seeds_are_fused_each(runs: list[Path], data_root: Path) -> None:
    found = ask(data_root, runs[:2], "seeds=[0,1]")
    assert [r["seed"] for r in found] == [0, 1]
    assert [r["stream"] for r in found] == ["joint+motion"] * 2
    summaries = [read_json(p) for p in runs[0].glob("eval/fusion/*/summary.json")]
    assert [s["seeds"] for s in summaries] == [[0, 1]]


def test_mistakes(runs: list[Path], data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected several runs, "):
        ask(data_root, runs[:1])
    with pytest.raises(UserError, match="checkpoint: found nothing at"):
        ask(data_root, [runs[0], tmp_path / "nothing"])
    with pytest.raises(UserError, match="representation: found 1 of them, expected 2"):
        ask(data_root, runs[:2], "representation=[seq]")
    with pytest.raises(UserError, match=r"protocol\.of: found 'nothing', expected protocols out of"):
        ask(data_root, runs[:2], "protocol.of=nothing")
    config = compose("evaluate", "protocol=linear", f"checkpoint=['{runs[0]}','{runs[1]}']", f"data_root='{data_root}'")
    with pytest.raises(UserError, match=r"expected one run folder or file \(protocol=fusion takes several\)"):
        evaluate(config, [config["protocol"]])
