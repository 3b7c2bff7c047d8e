"""Training as a user runs it, on tiny synthetic data: identity, resuming, and what a run leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hydra.errors import HydraException
from safetensors.torch import load_file

from skelssl.core.errors import UserError
from skelssl.core.files import locked, read_json
from skelssl.core.identity import run_id
from skelssl.core.runs import run_folder
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from tests.helpers.config import TINY, TINY_DATA, compose, train_config

ARGUMENTS = ("method.optim.epochs=3", "method.loader.batch=8", "trainer.limit_train_batches=null",
             "callbacks.checkpoint.every_n_steps=1", "method.monitor.every_n_epochs=2")  # fmt: skip


def weights(folder):
    return load_file(folder / "encoder" / "encoder.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def metrics(folder):
    return [
        {key: value for key, value in row.items() if not key.startswith("speed/")}
        for row in read_rows(folder / "metrics.csv")
    ]


@pytest.fixture(scope="module")
def whole(data_root, tmp_path_factory):
    """An uninterrupted run and its configuration."""
    folder = tmp_path_factory.mktemp("whole")
    config = train_config(data_root, *ARGUMENTS)
    train(config, folder)
    return config, folder


def test_without_callbacks_a_run_leaves_its_encoder_and_no_checkpoint(data_root, tmp_path):
    config = compose("train", *TINY_DATA, "debug=smoke", f"data_root='{data_root}'", "callbacks=none")
    assert config["callbacks"] == {}
    train(config, tmp_path)
    assert read_json(tmp_path / "run.json")["finished"]
    assert {"encoder", "metrics.csv"} <= {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.rglob("*.ckpt"))
    assert run_id(config) == run_id(train_config(data_root))  # watched or not, it is the same run


def test_a_run_leaves_everything_behind(whole):
    config, folder = whole
    about = read_json(folder / "run.json")
    assert about["finished"]
    assert about["epochs"] == 3
    assert about["steps"] == 15
    assert about["seed"] == 0
    assert about["peak_memory_mb"] > 0
    assert len(about["data_fingerprint"]) == 16
    assert about["versions"]["torch"] == torch.__version__
    rows = read_rows(folder / "metrics.csv")
    assert [(r["epoch"], r["step"]) for r in rows] == [("0", "4"), ("1", "9"), ("2", "14")]
    assert all(float(r["train/loss"]) > 0 for r in rows)
    assert [r["probe/knn/top1"] != "" for r in rows] == [False, True, True]
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert read_json(folder / "encoder" / "config.json")["recipe"] == config["method"]["recipe"]


def test_a_finished_run_says_so_and_stays(whole, capsys):
    config, folder = whole
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.*") if p.name != "config.yaml"}
    train(config, folder)
    assert "is finished; rerun=true trains it again" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*.*") if p.name != "config.yaml"}


def test_the_probe_changes_nothing(whole, data_root, tmp_path):
    _, folder = whole
    train(train_config(data_root, *ARGUMENTS, "callbacks.probe=null"), tmp_path)
    assert same(weights(tmp_path), weights(folder))


def test_the_first_epoch_of_the_published_schedule_moves_only_statistics(data_root, tmp_path):
    config = train_config(
        data_root, "method.optim.epochs=20", "method.optim.stop_epoch=1", "method.optim.warmup_epochs=10"
    )
    train(config, tmp_path)
    torch.manual_seed(0)
    from hydra.utils import instantiate

    start = instantiate(config["method"]["encoder"]).state_dict()
    end = weights(tmp_path)
    assert all(torch.equal(end[k], start[k]) for k in start if "running" not in k and "num_batches" not in k)
    assert not torch.equal(end["data_bn.running_mean"], start["data_bn.running_mean"])


def test_a_checkpoint_of_another_shape_is_one_sentence(whole, data_root, tmp_path):
    _, folder = whole
    last = folder / "checkpoints" / "last.ckpt"
    config = train_config(data_root, *ARGUMENTS, "method.encoder.hidden=4", f"resume='{last}'")
    with pytest.raises(
        UserError, match=r"last\.ckpt: found weights of another shape or method, expected those of this"
    ):
        train(config, tmp_path)
    with pytest.raises(UserError, match=r"resume: found no file nothing, expected a checkpoint"):
        train({**config, "resume": "nothing"}, tmp_path / "other")
    weights_only = folder / "encoder" / "encoder.safetensors"
    with pytest.raises(UserError, match=r"encoder\.safetensors: found no training state"):
        train({**config, "resume": str(weights_only)}, tmp_path / "third")
    torch.save({"a": 1}, tmp_path / "bare.pt")
    with pytest.raises(UserError, match=r"bare\.pt: found no training state, expected a checkpoint such as"):
        train({**config, "resume": str(tmp_path / "bare.pt")}, tmp_path / "fourth")


def test_a_checkpoint_that_a_run_begins_from_is_part_of_what_it_is(whole, data_root):
    _, folder = whole
    last = folder / "checkpoints" / "last.ckpt"
    assert run_id(train_config(data_root, f"resume='{last}'")) != run_id(train_config(data_root))
    assert run_id(train_config(data_root, "resume=false")) == run_id(train_config(data_root))


def test_rerun_removes_what_the_run_wrote_and_nothing_else(data_root, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    config = train_config(data_root, "rerun=true")
    train(config, tmp_path)
    first = weights(tmp_path)
    (tmp_path / "eval").mkdir()
    train(config, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "eval").exists()
    assert same(first, weights(tmp_path))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed=-1", "seed: found -1, expected a whole number"),
        ("precision=fp8", "precision: found 'fp8', expected one of fp32, bf16"),
        ("trainer.devices=2", r"trainer\.devices: found 2, expected 1"),
        ("trainer.accelerator=abacus", "trainer: "),
        ("compile=maybe", "compile: found 'maybe', expected true or false"),
        ("matmul_precision=low", "matmul_precision: found 'low', expected one of highest, high, medium"),
        ("method.loader.workers=0", r"method\.loader\.workers: found 0, expected a whole number of at least 1"),
        ("method.loader.resident=maybe", r"method\.loader\.resident: found 'maybe', expected auto, true or false"),
        ("method.loader.batch=1", r"method\.loader\.batch: found 1, expected a whole number of at least 2"),
        ("method.loader.batch=abc", r"method\.loader\.batch: found 'abc'"),
        ("method.optim.lr=abc", r"method\.optim\.lr: found 'abc'"),
        ("method.optim.stop_epoch=-1", r"method\.optim\.stop_epoch: found -1"),
        ("method.csm.mask_joint=99", "mask_joint: found 99, expected 1 to 24"),
        ("stream=colour", "stream: found 'colour'"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_the_folder_alone(data_root, tmp_path, override, sentence):
    config = train_config(data_root, override)
    with pytest.raises((UserError, HydraException), match=sentence):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_beyond_the_data(data_root, tmp_path):
    config = train_config(data_root, "method.loader.batch=500", "method.loader.drop_last=true")
    with pytest.raises(UserError, match=r"method\.loader\.batch: found 500, expected at most the 36 training clips"):
        train(config, tmp_path / "run")


def test_two_processes_are_not_let_into_one_run(data_root, tmp_path):
    with locked(tmp_path / ".lock"), pytest.raises(UserError, match="found another process at work there"):
        train(train_config(data_root), tmp_path)


def test_resuming_on_other_data_is_refused(whole, data_root, tmp_path):
    config, folder = whole
    shutil.copytree(folder / "checkpoints", tmp_path / "run" / "checkpoints")
    other = {**config["dataset"], "source": {**config["dataset"]["source"], "seed": 5}}
    with pytest.raises(UserError, match=r"found data of fingerprint \w+, expected \w+ as in the checkpoint"):
        train({**config, "dataset": other}, tmp_path / "run")


def test_a_loss_that_is_not_finite_ends_the_run(data_root, tmp_path):
    config = train_config(data_root, "method.loss.lambda_=1e38", "callbacks.probe=null")
    with pytest.raises(UserError, match=r"train/loss: found (nan|inf), expected a finite number"):
        train(config, tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_overfitting_a_few_batches(data_root, tmp_path):
    config = train_config(
        data_root, "debug=overfit", "method.encoder.hidden=4", "method.encoder.dropout=0", "method.head.dim=16",
        "method.loader.batch=8", "method.loader.overfit=1", "method.optim.epochs=8", "method.optim.warmup_epochs=0",
        "callbacks.probe=null",
    )  # fmt: skip
    train(config, tmp_path)
    losses = [float(row["train/loss"]) for row in read_rows(tmp_path / "metrics.csv")]
    assert read_rows(tmp_path / "metrics.csv")[-1]["step"] == "7"
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.15])
def test_sigkill_then_resume_gives_the_weights_of_an_uninterrupted_run(whole, data_root, tmp_path, delay):
    config, folder = whole
    command = [
        sys.executable,
        "-m",
        "skelssl.train",
        *TINY,
        "debug=smoke",
        f"data_root={data_root}",
        *ARGUMENTS,
    ]
    threads = str(torch.get_num_threads())  # sums are bit for bit the same with the same number of threads only
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": threads})
    run = tmp_path / run_folder(config)
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "run.json").exists(), "the run was over before it was killed"
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < 15
    train(config, run)
    assert same(weights(run), weights(folder))
    assert metrics(run) == metrics(folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_run_and_ends_it(whole, data_root, tmp_path, number):
    config, folder = whole
    # Without a checkpoint after every step: what is there after the signal was saved because of it.
    rare = [*ARGUMENTS, "callbacks.checkpoint.every_n_steps=null"]
    command = [sys.executable, "-m", "skelssl.train", *TINY, "debug=smoke", f"data_root={data_root}", *rare]
    threads = str(torch.get_num_threads())
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": threads}, stderr=subprocess.PIPE, text=True
    )
    run = tmp_path / run_folder(config)
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert process.returncode == 75, err
    assert f"stopped by {number.name}: " in err
    assert f"holds step {step}, and the same command resumes from it" in err
    train(config, run)
    assert same(weights(run), weights(folder))
    assert metrics(run) == metrics(folder)


@pytest.mark.slow
def test_the_same_command_twice_from_any_folder(data_root, tmp_path):
    place = tmp_path / "a (b), c=d"
    place.mkdir()
    command = [
        sys.executable,
        "-m",
        "skelssl.train",
        *TINY,
        "debug=smoke",
        f"data_root={data_root}",
        "hydra.run.dir=my run, (x=1)",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for more, expected in ((), "36 clips"), (("resume=auto",), "is finished"):
        done = subprocess.run([*command, *more], cwd=place, env=environment, capture_output=True, text=True, check=True)
        assert expected in done.stdout
    assert (place / "my run, (x=1)" / "encoder" / "encoder.safetensors").exists()
    other = [*command, "seed=5", "resume=auto"]
    done = subprocess.run(other, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("(seed: found 0, expected 5)")
    assert "Traceback" not in done.stderr


def test_resuming_keeps_the_seconds(whole):
    _, folder = whole
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < state["seconds"] <= json.loads((folder / "run.json").read_text())["seconds"] + 0.1
    assert Path(folder / "checkpoints" / "last.tmp").exists() is False
