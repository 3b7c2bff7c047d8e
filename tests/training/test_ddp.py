"""``trainer=ddp`` as a user calls it: equal to one process, killed, stopped, resumed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.core.runs import run_folder
from skelssl.runtime.ranks import launched_rank, ranks_wanted
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from tests.helpers.config import TINY, train_config

RANKS = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
# Plain gradient descent, so that its momentum shows the gradients themselves; float64, so that only a real difference
# can be larger than rounding.
THREE_STEPS = ("trainer.limit_train_batches=3", "precision=fp64", "method.optim.name=sgd", "method.optim.lr=1e-3",
               "callbacks.probe=null")  # fmt: skip
# A method that draws dropout has it switched off: each rank draws masks of its own for it.
METHODS = {"pstl": ["method.encoder.dropout=0"], "skeleton_contrast": [], "mamp": [], "skeleton2vec": [], "ha_cm": []}
# MAMP's and HA-CM's monitors are those of the first rank; the speed is that of a machine.
LOCAL = {"train/prediction_std", "train/target_std", "speed/clips_per_second"}


def call(place, data_root, *arguments):
    """The command; a sweep's ``-m`` comes first among its arguments."""
    sweep = [a for a in arguments if a == "-m"]
    rest = [a for a in arguments if a != "-m"]
    command = [
        sys.executable,
        "-m",
        "skelssl.train",
        *sweep,
        *TINY,
        "debug=smoke",
        f"data_root={data_root}",
        *rest,
    ]
    return subprocess.Popen(
        command, cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process):
    """Exit code, output and the one sentence of an error; a set that is prepared draws a bar there."""
    out, err = process.communicate(timeout=300)
    assert not re.search("Warning|Traceback", err), err
    sentences = [line for line in err.splitlines() if re.match("error:|stopped by", line)]
    assert len(sentences) == (process.returncode != 0), err
    return process.returncode, out, "".join(sentences)


def checkpoint(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def momentum(state):
    """The optimiser's momentum: the gradients of all steps, added up."""
    return {str(i): s["momentum_buffer"] for i, s in state["optimizer_states"][0]["state"].items()}


def assert_near(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance, msg=lambda m, k=key: f"{k}: {m}")


def assert_equal_runs(one, several):
    """The same loss, weights, statistics, queues and teachers, and gradients (next to the largest of them)."""
    one, several = checkpoint(one), checkpoint(several)
    assert one["global_step"] == several["global_step"]
    for key in one["row"].keys() - LOCAL:
        assert several["row"][key] == pytest.approx(one["row"][key], rel=1e-6), key  # Lightning logs in float32
    assert_near(several["state_dict"], one["state_dict"], 1e-9)
    assert_near(momentum(several), momentum(one), 1e-9 * max(float(g.abs().max()) for g in momentum(one).values()))


@pytest.fixture(scope="module")
def ddp_runs(data_root, tmp_path_factory):
    """Every method on two ranks: those without options of their own in one sweep."""
    place = tmp_path_factory.mktemp("ddp")
    plain = ",".join(name for name, own in METHODS.items() if not own)
    calls = [("-m", f"method={plain}"), *((f"method={name}", *own) for name, own in METHODS.items() if own)]
    for arguments in calls:
        code, out, err = ended(call(place, data_root, *RANKS, *THREE_STEPS, *arguments))
        assert code == 0, err
        assert out.count("36 clips, 2 ranks -> outputs") == (len(plain.split(",")) if "-m" in arguments else 1)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_equal_one_process(ddp_runs, data_root, tmp_path, method):
    config = train_config(data_root, f"method={method}", *THREE_STEPS, *METHODS[method])
    train(config, tmp_path)
    assert_equal_runs(tmp_path, ddp_runs / run_folder(config))


@pytest.mark.slow
def test_three_ranks_share_an_uneven_last_batch(data_root, tmp_path):
    arguments = (*THREE_STEPS[1:], "method=mamp", "dataset=synthetic_xview", "method.loader.batch=9",
                 "method.loader.drop_last=false", "trainer.limit_train_batches=null")  # fmt: skip
    process = call(tmp_path, data_root, *arguments, *RANKS, "trainer.devices=3", "hydra.run.dir=three")
    train(train_config(data_root, *arguments), tmp_path / "one")
    code, out, err = ended(process)
    assert code == 0, out + err
    assert checkpoint(tmp_path / "one")["global_step"] == 4  # 9, 9, 9 and 5 clips
    assert_equal_runs(tmp_path / "one", tmp_path / "three")


@pytest.mark.slow
def test_torchrun_starts_the_ranks_as_well(data_root, tmp_path):
    arguments = (*THREE_STEPS, "method=mamp")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [*torchrun, "skelssl.train", *TINY, "debug=smoke", f"data_root={data_root}", *arguments, "trainer=ddp",
               "trainer.accelerator=cpu", "hydra.run.dir=two", "then=[knn]"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("36 clips, 2 ranks -> two") == 1
    assert len(list((tmp_path / "two" / "eval" / "knn").glob("*/result.json"))) == 1
    train(train_config(data_root, *arguments), tmp_path / "one")
    assert_equal_runs(tmp_path / "one", tmp_path / "two")


# --- killed, stopped, resumed

LONG = ("method.optim.epochs=6", "trainer.limit_train_batches=null", "callbacks.checkpoint.every_n_steps=1",
        "callbacks.probe=null")  # fmt: skip


def wait_for(path, process):
    deadline = time.monotonic() + 180
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the ranks")
def test_a_stopped_then_killed_run_ends_in_the_weights_of_an_uninterrupted_one(data_root, tmp_path):
    arguments = (*RANKS, *LONG)
    run = tmp_path / run_folder(train_config(data_root, *LONG))
    last = run / "checkpoints" / "last.ckpt"

    process = call(tmp_path, data_root, *arguments)
    wait_for(last, process)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 75
    assert re.fullmatch(r"stopped by SIGTERM: \S+: the same command resumes from its last checkpoint", err), err
    stopped = checkpoint(run)["global_step"]

    process = call(tmp_path, data_root, *arguments)
    while process.poll() is None and checkpoint(run)["global_step"] == stopped:
        time.sleep(0.05)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 1
    assert re.fullmatch(r"error: rank \d of 2 was killed by SIGKILL; \S+: the same command resumes from .*", err), err
    assert not (run / "run.json").exists()

    assert ended(call(tmp_path, data_root, *arguments))[0] == 0
    assert ended(call(tmp_path, data_root, *arguments, "hydra.run.dir=whole"))[0] == 0
    whole, found = checkpoint(tmp_path / "whole"), checkpoint(run)
    assert found["global_step"] == 30 > stopped > 0
    assert all(torch.equal(value, found["state_dict"][key]) for key, value in whole["state_dict"].items())
    assert timeless(found["row"]) == timeless(whole["row"])
    rows = [[timeless(row) for row in read_rows(folder / "metrics.csv")] for folder in (run, tmp_path / "whole")]
    assert rows[0] == rows[1]


def timeless(row):
    """A row without the one figure that depends on the machine."""
    return {key: value for key, value in row.items() if key != "speed/clips_per_second"}


@pytest.mark.slow
def test_a_mistake_that_only_ranks_find_is_one_sentence(data_root, tmp_path):
    code, _, err = ended(call(tmp_path, data_root, *RANKS, "method.loss.lambda_=1e38", "callbacks.probe=null"))
    assert code == 2
    assert re.fullmatch(r"error: train/loss: found (nan|inf), expected a finite number.*", err), err


# --- what is refused before anything starts


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["trainer.devices=2"], r"trainer\.devices: found 2, expected 1; trainer=ddp takes several"),
        (["trainer.strategy=fsdp"], r"trainer\.strategy: found 'fsdp', expected auto or ddp"),
        ([*RANKS, "trainer.devices=0"], r"trainer\.devices: found 0, expected auto or a whole number"),
        (
            [*RANKS, "trainer.devices=auto"],
            r"trainer\.devices: found auto and no GPU, expected the number",
        ),
        ([*RANKS, "trainer.accelerator=tpu"], r"trainer\.accelerator: found 'tpu', expected auto, cpu or gpu"),
        ([*RANKS, "trainer.devices=3"], r"method\.loader\.batch: found 8, expected a multiple of the 3 ranks"),
    ],
)
def test_refused(data_root, tmp_path, overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        train(train_config(data_root, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


SRUN = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize("variables", [SRUN, TORCHRUN])
def test_where_a_process_stands(monkeypatch, variables, data_root, tmp_path):
    assert launched_rank() is None
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    here = launched_rank()
    assert (here.rank, here.world, here.local_rank, here.local_world) == (5, 8, 1, 4)
    with pytest.raises(UserError, match="trainer: found one process among 8 ranks, expected trainer=ddp"):
        train(train_config(data_root), tmp_path)
    with pytest.raises(UserError, match=r"trainer\.devices: found 2, expected auto or the 4 ranks of this node"):
        train(train_config(data_root, *RANKS), tmp_path)


def test_a_batch_script_without_srun_is_no_rank(monkeypatch):
    for key, value in {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(key, value)
    assert launched_rank() is None
    assert ranks_wanted({"accelerator": "cpu", "devices": 2}) == 2
