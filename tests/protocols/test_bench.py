"""Evaluation as a user runs it, on a tiny run."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.core.files import read_json, sha256
from skelssl.encoders.stgcn import STGCN
from skelssl.methods.build import build_method
from skelssl.pages.run_page import open_run
from skelssl.protocols.bench import evaluate, random_init
from skelssl.protocols.plan import read_protocols
from skelssl.results.record import KEYS, MORE
from skelssl.training.afterwards import evaluate_run
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from tests.helpers.config import TINY_DATA, compose, train_config


@pytest.fixture(scope="module")
def run(data_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = train_config(data_root, "method.optim.epochs=2", "seed=4")
    train(config, folder)
    evaluate_run(folder, read_protocols(["linear", "knn"]), config)
    return config, folder


def ask(data_root, run, *overrides, protocol="knn"):
    config = compose("evaluate", f"protocol={protocol}", f"checkpoint='{run}'", f"data_root='{data_root}'", *overrides)
    return [done.result for done in evaluate(config, [config["protocol"]])]


def results(folder):
    found = [read_json(p) for p in sorted(folder.glob("eval/*/*/result.json"))]
    return {r["protocol"]: r for r in found}


def test_every_result_has_every_key(run):
    _, folder = run
    found = results(folder)
    assert set(found) == {"linear", "knn"}
    for name, result in found.items():
        assert list(result) == [*KEYS, *MORE]
        assert result["method"] == "pstl"
        assert result["dataset"] == "synthetic"
        assert result["mode"] == "paper"
        assert result["stream"] == "joint"
        assert result["n_train"] == result["labels_used"] == 8
        assert result["n_test"] == 8
        assert result["setting"] == "2 clips a class, 2 probe epochs"
        assert result["checkpoint_sha256"] == sha256(folder / "encoder" / "encoder.safetensors")
        assert result["data_fingerprint"] == read_json(folder / "run.json")["data_fingerprint"]
        assert (result["top1_best_epoch"] is None) == (result["calibration_error"] is None) == (name == "knn")
        assert result["encoder"] == found["linear"]["encoder"]  # measured once for both
        assert result["encoder"]["parameters"] == 32046
        assert [row["n"] for row in result["per_class"]] == [2, 2, 2, 2]
        assert np.trace(result["confusion"]) == 8 * result["top1"]
        assert result["mean_class_accuracy"] == result["top1"]  # as many clips of each class
    last = read_rows(folder / "metrics.csv")[-1]
    assert float(last["eval/knn/top1"]) == found["knn"]["top1"]


def test_accuracy_follows_from_the_scores(run):
    _, folder = run
    for path in folder.glob("eval/*/*/result.json"):
        result, scores = read_json(path), np.load(path.with_name("scores.npz"))
        trained, random = (scores[k].argmax(1) == scores["labels"] for k in ("logits", "random_init_logits"))
        assert result["top1"] == trained.mean()
        assert result["random_init_top1"] == random.mean()
        assert result["difference"]["mean"] == pytest.approx(trained.mean() - random.mean())
        assert len(set(scores["names"])) == 8


def test_random_init_is_the_encoder_that_training_began_with(run):
    config, folder = run
    about = read_json(folder / "encoder" / "config.json")
    begun, drawn = build_method(config).encoder.state_dict(), random_init(about, 4, []).state_dict()
    assert all(torch.equal(begun[k], drawn[k]) for k in begun)
    other = random_init(about, 9, []).state_dict()
    assert any(not torch.equal(begun[k], other[k]) for k in begun)


def test_the_same_evaluation_is_read_and_another_is_run(run, data_root):
    _, folder = run
    first = ask(data_root, folder)[0]
    times = {p: p.stat().st_mtime_ns for p in folder.glob("eval/knn/*/result.json")}
    assert ask(data_root, folder)[0] == first
    assert times == {p: p.stat().st_mtime_ns for p in folder.glob("eval/knn/*/result.json")}
    assert first["n_test"] == 12
    assert first["setting"] is None
    ask(data_root, folder, "rerun=true")
    assert times != {p: p.stat().st_mtime_ns for p in folder.glob("eval/knn/*/result.json")}


def test_a_second_then_adds_no_row(run, data_root):
    config, folder = run
    before = read_rows(folder / "metrics.csv")
    evaluate_run(folder, read_protocols("knn"), config)
    assert read_rows(folder / "metrics.csv") == before


def test_figures_of_then_reach_every_logger(run, data_root):
    config, folder = run
    other = {"other": {"_target_": "lightning.pytorch.loggers.CSVLogger"}, "none": None}
    evaluate_run(folder, read_protocols("retrieval"), {**config, "logger": other})
    (path,) = folder.glob("lightning_logs/version_0/metrics.csv")
    (row,) = read_rows(path)
    assert float(row["eval/retrieval/top1"]) == results(folder)["retrieval"]["top1"]
    assert int(row["step"]) == read_json(folder / "run.json")["steps"] - 1
    for made in ("lightning_logs", "eval/retrieval"):
        shutil.rmtree(folder / made)


def test_the_seed_is_the_runs_own_and_draws_the_random_encoder(run, data_root):
    _, folder = run
    own, other = ask(data_root, folder)[0], ask(data_root, folder, "seed=9")[0]
    assert (own["seed"], other["seed"]) == (4, 9)
    assert own["top1"] == other["top1"]
    scores = [np.load(p) for p in folder.glob("eval/knn/*/scores.npz")]
    assert len({s["random_init_logits"].tobytes() for s in scores if len(s["names"]) == 12}) == 2


def test_other_data_than_the_runs_is_refused_unless_named(run, tmp_path):
    _, folder = run
    shutil.copytree(folder, tmp_path / "run")
    config = (tmp_path / "run" / "config.yaml").read_text().replace("seed: 0", "seed: 7")  # of the synthetic source
    (tmp_path / "run" / "config.yaml").write_text(config)
    with pytest.raises(UserError, match=r"found data of fingerprint .* name the dataset to evaluate on other data"):
        ask(tmp_path / "data", tmp_path / "run")


def test_a_path_into_the_run_is_the_run(run, data_root):
    _, folder = run
    expected = ask(data_root, folder)
    assert ask(data_root, folder / "encoder") == expected
    assert ask(data_root, folder / "encoder" / "encoder.safetensors") == expected


def test_several_seeds_have_a_summary(run, data_root, capsys):
    _, folder = run
    found = ask(data_root, folder, "seeds=[0,1,2]", "limit.epochs=3", protocol="linear")
    (path,) = folder.glob("eval/linear/*/summary.json")
    summary = read_json(path)
    assert summary["seeds"] == [0, 1, 2]
    assert summary["top1"]["mean"] == pytest.approx(np.mean([r["top1"] for r in found]))
    assert summary["top1"]["sd"] == pytest.approx(np.std([r["top1"] for r in found], ddof=1))
    half = 4.302653 * summary["top1"]["sd"] / 3**0.5  # Student's t, two degrees of freedom
    assert summary["top1"]["high"] - summary["top1"]["mean"] == pytest.approx(half, rel=1e-5)
    assert summary["interval"] == "95 %, Student's t over the seeds"
    out = capsys.readouterr().out
    assert "linear   over seeds 0, 1, 2 (95 %, Student's t over the seeds)" in out
    assert re.search(rf"  top1 +{100 * summary['top1']['mean']:.1f} ± {100 * summary['top1']['sd']:.1f} \[", out)


def test_another_dataset_changes_the_split_only(run, data_root):
    _, folder = run
    result = ask(data_root, folder, "dataset=synthetic_xview", *TINY_DATA)[0]
    assert (result["n_train"], result["n_test"]) == (32, 16)
    assert result["dataset"] == "synthetic_xview"


def test_clean_mode_is_the_protocols_own_probe(run, data_root):
    _, folder = run
    few = ("protocol.choose.lr=[1.0e-9,0.01]", "protocol.choose.weight_decay=[0.0]")
    result = ask(data_root, folder, "mode=clean", "limit.epochs=20", *few, protocol="linear")[0]
    assert result["recipe"]["standardise"] is True
    assert result["mode"] == "clean"
    assert result["test_touched_for_selection"] is False
    for chosen in (result["chosen"], result["random_init_chosen"]):
        low, high = (one["top1"] for one in chosen["tried"])
        assert [one["lr"] for one in chosen["tried"]] == [1e-9, 0.01]
        assert chosen["values"] == {"lr": 0.01 if high > low else 1e-9, "weight_decay": 0.0}
        assert chosen["subject_disjoint"] is True
        assert chosen["n_train"] + chosen["n_validation"] == result["n_train"] == 36
    assert ask(data_root, folder, protocol="linear")[0]["chosen"] is None


def test_a_labelled_share_is_too_small_to_choose_by(run, data_root):
    _, folder = run
    with pytest.raises(UserError, match=r"protocol.choose: found .*, expected none: semi has few labels"):
        ask(data_root, folder, "mode=clean", "+protocol.choose.lr=[0.1]", protocol="semi")


def test_a_released_file(run, data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(STGCN().state_dict(), "released.pt")
    place = ("dataset=synthetic", *TINY_DATA, "source=pstl", "baseline=false", "limit.clips=1")
    result = ask(data_root, "released.pt", *place)[0]
    assert result["random_init_top1"] is None
    assert result["difference"] is None
    assert list(tmp_path.glob("outputs/pstl/synthetic/released-*/eval/knn/*/result.json"))


def test_a_released_file_with_the_settings_of_another_method(run, data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(STGCN().state_dict(), "released.pt")
    place = ("dataset=synthetic", *TINY_DATA, "source=pstl", "baseline=false", "limit.clips=1", "limit.epochs=1")
    own = ask(data_root, "released.pt", *place, protocol="linear")[0]
    given = ask(data_root, "released.pt", *place, "method=skeleton_contrast", protocol="linear")[0]
    assert (own["method"], given["method"]) == ("pstl", "skeleton_contrast")
    assert (own["recipe"]["optimizer"], given["recipe"]["optimizer"]) == ("adam", "sgd")
    assert own["data_fingerprint"] != given["data_fingerprint"]  # aimclr, agcn
    assert given["setting"] == "encoder of pstl, 1 clips a class, 1 probe epochs"
    changed = ask(data_root, "released.pt", *place, "method=pstl", "method.probe.linear.lr=0.5", protocol="linear")[0]
    assert changed["setting"] == "method.probe.linear.lr, 1 clips a class, 1 probe epochs"
    same = ask(data_root, "released.pt", *place, "method=pstl", protocol="linear")[0]
    shared = ("method", "setting", "recipe", "data_fingerprint", "top1")
    assert {k: same[k] for k in shared} == {k: own[k] for k in shared}


def test_a_released_file_has_its_methods_preset_for_the_dataset():
    config = compose("evaluate", "checkpoint=x", "source=mamp", "method=mamp", "dataset=pku2_xview")
    assert {key: config["method"]["probe"]["linear"][key] for key in ("lr", "batch")} == {"lr": 0.01, "batch": 32}
    assert config["method"]["recipe"]["center"] is False


def test_mistakes(run, data_root, tmp_path):
    _, folder = run
    with pytest.raises(UserError, match="checkpoint: found nothing at nowhere"):
        ask(data_root, "nowhere")
    with pytest.raises(UserError, match="mode: found 'x', expected one of paper, clean"):
        ask(data_root, folder, "mode=x")
    torch.save(STGCN().state_dict(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"dataset: not given, and .* is no run folder"):
        ask(data_root, tmp_path / "a.pt", "source=pstl")
    with pytest.raises(
        UserError, match="then: found 'nothing', expected protocols out of cluster, finetune, fusion, knn, linear"
    ):
        read_protocols(["knn", "nothing"])
    for key, value in (("seeds", "x"), ("seed", -1), ("limit.clips", 0), ("seeds", "[]"), ("seeds", "[0,1,0]"),
                       ("weights", "[1,2]"), ("stream", "bone")):  # fmt: skip
        with pytest.raises(UserError, match=f"{key}: found"):
            ask(data_root, folder, f"{key}={value}")
    with pytest.raises(UserError, match="method: found pstl, expected none without source=: a run brings its own"):
        ask(data_root, folder, "method=pstl", "dataset=synthetic", *TINY_DATA)
    with pytest.raises(UserError, match=r"ratio: found \[\], expected at least one"):
        ask(data_root, folder, "ratio=[]", protocol="semi")


def test_cached_crops_of_a_view_without_chance_change_nothing_but_the_setting(run, data_root):
    _, folder = run
    limit = ("limit.epochs=2", "limit.clips=2")
    (plain,), (cached,) = (ask(data_root, folder, *limit, *more, protocol="linear") for more in ((), ("crops=1",)))
    assert cached["setting"] == "1 cached crops a training clip, 2 clips a class, 2 probe epochs"
    assert plain["setting"] == "2 clips a class, 2 probe epochs"
    assert "passes" not in plain["recipe"]
    assert cached["recipe"] == plain["recipe"] | {"passes": 1}
    found = {path.parent: read_json(path) for path in folder.glob("eval/linear/*/result.json")}
    homes = [next(home for home, result in found.items() if result == one) for one in (plain, cached)]
    assert np.array_equal(*(np.load(home / "scores.npz")["logits"] for home in homes))


def test_cached_crops_that_cannot_be(run, data_root):
    _, folder = run
    with pytest.raises(UserError, match="crops: found 0, expected null or a whole number of at least 1"):
        ask(data_root, folder, "crops=0", protocol="linear")
    with pytest.raises(UserError, match="crops: found 2, expected null: this probe encodes training clips under"):
        ask(data_root, folder, "crops=2", "mode=clean", protocol="linear")
    with pytest.raises(UserError, match="crops: found 2, expected null: there is no crops in knn"):
        ask(data_root, folder, "crops=2")


@pytest.mark.parametrize("suite", ["[suite]", "[fusion]", "[transfer]"])
def test_a_suite_holds_protocols_of_one_run(run, data_root, suite):
    with pytest.raises(UserError, match=f"suite: found {suite[1:-1]}, expected protocols of one run on its own data"):
        ask(data_root, run[1], f"protocol.suite={suite}", protocol="suite")


def test_an_empty_suite_is_not_the_papers(run, data_root):
    with pytest.raises(UserError, match=r"suite: found \[\], expected at least one protocol"):
        ask(data_root, run[1], "protocol.suite=[]", protocol="suite")


def test_what_a_published_recipe_would_ignore_is_refused(run, data_root):
    _, folder = run
    with pytest.raises(UserError, match=r"protocol.recipe.epochs: found 3, expected 100: mode=paper takes the recipe"):
        ask(data_root, folder, "protocol.recipe.epochs=3", protocol="linear")
    with pytest.raises(UserError, match=r"protocol.choose.k: found \[1\], expected \[1, 5, 20, 50\]: mode=paper"):
        ask(data_root, folder, "protocol.choose.k=[1]")
    clean = ("mode=clean", "protocol.recipe.epochs=3", "protocol.choose=null", "limit.clips=1", "baseline=false")
    assert ask(data_root, folder, *clean, protocol="linear")[0]["recipe"]["epochs"] == 3


def test_classes_without_training_clips_are_said(run, data_root, capsys):
    _, folder = run
    result = ask(data_root, folder, "dataset=synthetic", *TINY_DATA, "dataset.classes=6", "baseline=false")[0]
    assert (result["classes_without_training"], result["test_clips_without_training"]) == (2, 0)
    assert "synthetic: 2 classes have no training clip; 0 test clips are of those" in capsys.readouterr().out


def test_a_run_from_elsewhere_builds_nothing_else(run, data_root, tmp_path):
    _, folder = run
    shutil.copytree(folder, tmp_path / "run")
    text = (folder / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace("skelssl.data.synthetic.Synthetic", "pathlib.Path.cwd"))
    with pytest.raises(UserError, match=r"_target_: found pathlib\.Path\.cwd, expected a module under skelssl"):
        ask(data_root, tmp_path / "run")
    with pytest.raises(UserError, match=r"_target_: found pathlib\.Path\.cwd"):
        open_run(tmp_path / "run")


@pytest.mark.slow
def test_the_commands_with_paths_of_every_kind(run, data_root, tmp_path):
    _, folder = run
    odd = tmp_path / "a run, (1)=x"
    odd.symlink_to(folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def call(module, *arguments):
        command = [sys.executable, "-m", f"skelssl.{module}", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = call("evaluate", "protocol=knn", f"checkpoint={odd}", f"data_root={data_root}", "debug=smoke")
    assert done.returncode == 0, done.stderr
    assert "knn" in done.stdout
    done = call("report", str(odd), "--json", "table.json", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert {"linear", "knn"} <= {row["protocol"] for row in table}
    page = (tmp_path / "page.html").read_text()
    assert "CSM" in page
    assert "MATM" in page
    for module, arguments, expected in (
        ("train", ["method=foo"], "error: method: found 'foo', expected one of ha_cm, mamp, pstl"),
        ("train", ["method.head.dmi=3"], "error: method.head.dmi: unknown key (did you mean dim?), expected one of"),
        (
            "train",
            ["dataset=ntu60_xsub", f"data_root={tmp_path}"],
            "not found, expected the prepared ntu60; run: python",
        ),
        ("prepare", ["dataset=ntu60", "raw=no such, file (1).zip"], "error: raw=no such"),
        ("evaluate", ["protocol=knn"], "error: checkpoint: not given, expected a value on the command line"),
    ):
        done = call(module, *arguments)
        assert done.returncode == 2, (module, arguments, done.stderr)
        assert expected in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
