"""A search as a user runs it: tiny trials that are ordinary runs, pruned, killed and gone on with."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from skelssl.cli.tune import tune_command
from skelssl.core.compose import composed, resolved
from skelssl.core.errors import Diverged, Stopped, UserError
from skelssl.core.files import read_json
from skelssl.core.identity import run_id
from skelssl.core.runs import finished, load_config
from skelssl.data.store import RecipeStore
from skelssl.training import tune
from skelssl.training.callbacks.knn_probe import KNNProbe
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from skelssl.training.trainer import build_data
from tests.helpers.config import TINY

WORDS = (*TINY, "debug=smoke", "method.optim.epochs=3", "~tune.space.method.optim.weight_decay",
         "+tune.space.method.optim.weight_decay=[0.0,1.0e-3]")  # fmt: skip
KEY = "probe/knn/top1"


@pytest.fixture
def here(tmp_path, monkeypatch, data_root):
    """The arguments of a search, whose outputs lie in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return [*WORDS, f"data_root={data_root}"]


def outcome():
    (path,) = Path("outputs/tune/pstl/synthetic").iterdir()
    return read_json(path / "summary.json")


def test_trials_are_ordinary_runs_and_a_search_goes_on(here, capsys):
    tune_command([*here, "tune.trials=2"])
    found = outcome()
    assert [t["state"] for t in found["trials"]] == ["complete", "complete"]
    for trial in found["trials"]:
        words = [f"{key}={value}" for key, value in trial["values"].items()]
        config = resolved(composed("train", [*(a for a in here if "tune." not in a), *words]))
        assert trial["folder"] == os.path.join("outputs", "pstl", "synthetic", run_id(config))
        rows = [float(row[KEY]) for row in read_rows(Path(trial["folder"]) / "metrics.csv")]
        assert trial["value"] == rows[-1]
        assert len(rows) == 3
    best = max(found["trials"], key=lambda t: t["value"])
    assert found["best"] == best
    assert f"method.optim.lr={best['values']['method.optim.lr']}" in found["command"]
    assert "tune." not in found["command"]

    capsys.readouterr()
    tune_command([*here, "tune.trials=3"])
    assert outcome()["trials"][:2] == found["trials"]
    assert len(outcome()["trials"]) == 3
    assert capsys.readouterr().out.count("pstl on synthetic") == 1


def test_a_killed_search_tries_what_a_whole_one_tries(here, monkeypatch):
    tune_command([*here, "tune.trials=2"])
    whole = outcome()["trials"]
    Path("outputs").rename("whole")

    def killed(config, folder, callbacks):
        """The second trial ends after an epoch, in a way that nothing here can catch."""
        if Path("outputs/pstl/synthetic").exists():
            monkeypatch.setattr(KNNProbe, "on_train_epoch_start", stop, raising=False)
        train(config, folder, callbacks)

    def stop(self, trainer, module):
        if trainer.current_epoch == 1:
            raise Stopped("stopped")

    monkeypatch.setattr(tune, "train", killed)
    with pytest.raises(Stopped):
        tune_command([*here, "tune.trials=2"])
    assert len(outcome()["trials"]) == 1
    monkeypatch.setattr(tune, "train", train)
    monkeypatch.setattr(KNNProbe, "on_train_epoch_start", lambda *_: None)
    tune_command([*here, "tune.trials=2"])
    again = outcome()["trials"]
    assert [t["number"] for t in again] == [0, 2]  # 1 is the one that was killed, whose run 2 went on with
    assert [(t["values"], t["folder"], t["value"]) for t in again] == [
        (t["values"], t["folder"], t["value"]) for t in whole
    ]
    (database,) = Path("outputs").glob("tune/*/*/*/study.db")
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{database}")
    assert sorted(study.trials[2].intermediate_values) == [1, 2, 3]


def test_a_pruned_trial_keeps_its_checkpoint_and_row(here):
    """A threshold that no accuracy reaches: every trial is pruned after its first epoch."""
    pruner = ["~tune.pruner", "+tune.pruner={_target_:optuna.pruners.ThresholdPruner,lower:2.0}", "tune.trials=1"]
    with pytest.raises(UserError, match="found no completed trial"):
        tune_command([*here, *pruner])
    (trial,) = outcome()["trials"]
    assert (trial["state"], trial["value"]) == ("pruned", None)
    folder = Path(trial["folder"])
    assert len(read_rows(folder / "metrics.csv")) == 1
    assert not finished(folder)
    train(load_config(folder), folder)  # goes on where it was given up
    assert len(read_rows(folder / "metrics.csv")) == 3


def test_a_trial_that_diverges_is_no_mistake_of_the_user(here, monkeypatch):
    def diverges(config, folder, callbacks):
        raise Diverged("train/loss: found nan")

    monkeypatch.setattr(tune, "train", diverges)
    with pytest.raises(UserError, match="found no completed trial"):
        tune_command([*here, "tune.trials=2"])
    assert [t["state"] for t in outcome()["trials"]] == ["pruned", "pruned"]


def test_a_search_never_opens_the_test_split(here, monkeypatch):
    opened = []
    real = RecipeStore.gather

    def gather(self, rows, **options):
        opened.extend(map(int, rows))
        return real(self, rows, **options)

    monkeypatch.setattr(RecipeStore, "gather", gather)
    tune_command([*here, "tune.trials=1"])
    config = load_config(Path(outcome()["best"]["folder"]))
    data = build_data(config).dataset
    assert set(opened)
    assert not set(opened) & set(data.test.tolist())


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("then=[knn]", "then: found"),
        ("trainer=ddp", "trainer: found ddp"),
        ("rerun=true", "rerun: found true"),
        ("tune.objective=eval/knn/top1", "expected a metric of the online probe"),
        ("tune.trials=0", "tune.trials: found 0"),
        ("tune.seed=-1", "tune.seed: found -1"),
        ("callbacks.probe=null", "callbacks.probe: found null"),
        ("-m", "tune: found -m"),
        ("tune.trialz=3", "tune.trialz: unknown key"),
    ],
)
def test_mistakes(here, word, sentence):
    with pytest.raises(UserError, match=sentence):
        tune.read_plan([*here, word])


def test_a_setting_that_does_not_exist_is_one_sentence_and_exit_code_2(here):
    words = [*here, "+tune.space.method.optim.lrr={low:1,high:2}"]
    done = subprocess.run([sys.executable, "-m", "skelssl.cli.tune", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: method.optim.lrr: unknown key (did you mean lr?), expected one of "
        "name, lr, weight_decay, epochs, stop_epoch, warmup_epochs, min_lr, clip"
    ]
    assert not os.path.exists("outputs")


def test_the_trials_of_a_search_are_a_group_of_wandb(here, monkeypatch):
    seen = []
    monkeypatch.setattr(tune, "train", lambda config, folder, callbacks: seen.append(config) or train(
        {**config, "logger": {}}, folder, callbacks))  # fmt: skip
    tune_command([*here, "logger=wandb", "tune.trials=1"])
    (study,) = Path("outputs/tune/pstl/synthetic").iterdir()
    assert [config["logger"]["wandb"]["group"] for config in seen] == [f"tune-{study.name}"]
