"""Sweeps through Hydra's launchers: side by side, and as jobs that are preempted and go back into the queue."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from skelssl.core.runs import run_folder
from skelssl.core.sentences import sentence
from skelssl.training.loop import train
from tests.helpers.config import TINY, train_config

CELLS = ("method.csm.mask_joint=4", "method.csm.mask_joint=8")


def sweep(place, data_root, launcher, *arguments):
    command = [sys.executable, "-m", "skelssl.train", "-m", f"launcher={launcher}", *TINY, "debug=smoke",
               f"data_root={data_root}", "hydra.sweep.dir=sweep", *arguments]  # fmt: skip
    return subprocess.Popen(
        command, cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_launcher_that_is_not_installed_is_one_sentence():
    error = ValueError("Could not find 'hydra/launcher/joblib'\n\nAvailable options in 'hydra/launcher':\n\tbasic\n")
    assert sentence(error, "train").endswith("expected it installed: pip install 'skelssl[parallel]'")


@pytest.mark.slow
def test_joblib_runs_what_is_missing(data_root, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done, missing = (train_config(data_root, cell) for cell in CELLS)
    train(done, tmp_path / run_folder(done))
    out, err = sweep(tmp_path, data_root, "joblib", "method.csm.mask_joint=4,8").communicate(timeout=300)
    assert f"{run_folder(done)} is finished" in out, err
    assert f"36 clips -> {run_folder(missing)}" in out
    assert (tmp_path / run_folder(missing) / "run.json").exists()


def wait_for(path, process):
    deadline = time.monotonic() + 180
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the job")
def test_a_preempted_job_goes_back_into_the_queue_and_ends_in_the_same_weights(data_root, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    long = ("method.optim.epochs=20", "trainer.limit_train_batches=null", "callbacks.probe=null")
    config = train_config(data_root, *long)
    run = tmp_path / run_folder(config)
    process = sweep(tmp_path, data_root, "submitit_local", *long)
    wait_for(run / "checkpoints" / "last.ckpt", process)
    jobs = next((tmp_path / "sweep" / "submitit").glob("[0-9]*"))  # named by a process, whose child is the job
    (job,) = Path(f"/proc/{jobs.name}/task/{jobs.name}/children").read_text().split()
    os.kill(int(job), signal.SIGUSR2)  # what SLURM sends before it takes a machine away
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    log = "".join(file.read_text() for file in (*jobs.glob("*.out"), *jobs.glob("*.err")))
    assert "this job is preempted" in log
    assert f"resuming from {run_folder(config)}" in log
    assert (run / "run.json").exists()
    train(config, tmp_path / "whole")
    assert same(weights(run), weights(tmp_path / "whole"))


@pytest.mark.slow
def test_a_mistake_in_a_job_is_one_sentence(data_root, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = sweep(tmp_path, data_root, "submitit_local", "method.csm.mask_joint=99")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert err.strip().splitlines()[-1] == "error: csm.mask_joint: found 99, expected 1 to 24"
    assert "Traceback" not in err
