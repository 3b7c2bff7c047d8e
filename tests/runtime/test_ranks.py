"""Two gloo ranks against one process: frozen protocols bit for bit, fine-tuning but for the order of sums."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from skelssl.core.files import read_json
from skelssl.data.loader import batches
from skelssl.data.module import open_dataset
from skelssl.pretrained.load import build_encoder
from skelssl.protocols import finetune as tuning
from skelssl.protocols import frozen as module
from skelssl.protocols.bench import evaluate
from skelssl.protocols.frozen import Frozen
from skelssl.runtime.collectives import rank, world_size
from skelssl.runtime.ranks import agree, sum_gradients, total
from skelssl.training.loop import train
from tests.helpers.config import compose, train_config
from tests.helpers.ranks import run_ranks


def frozen_of(config: dict[str, Any], data_root: str, dtype: torch.dtype = torch.float32) -> Frozen:
    """A random encoder of the configuration on its dataset."""
    method = config["method"]
    about = {"layout": "ntu25", **{key: method[key] for key in ("encoder", "recipe", "view", "probe")}}
    torch.manual_seed(0)
    data = open_dataset(config["dataset"], method["recipe"], data_root)
    return Frozen(build_encoder(about).to(dtype), data, device=torch.device("cpu"), precision="fp32")


def judge(config: dict[str, Any], data_root: str, protocol: str, recipe: dict[str, Any], batch: int) -> list[Tensor]:
    """Logits, labels and rows of a frozen protocol whose clips are encoded ``batch`` at a time."""
    module.batches = partial(batches, batch=batch)  # type: ignore[attr-defined]
    scores = getattr(module, protocol)(frozen_of(config, data_root), recipe, 3)
    return [scores.logits, scores.label, scores.index]


def tune(config: dict[str, Any], data_root: str, recipe: dict[str, Any]) -> list[Tensor]:
    """The same of a fine-tuning in double precision."""
    tuning.batches = partial(batches, batch=7)  # type: ignore[attr-defined]
    scores = tuning.finetune(frozen_of(config, data_root, torch.float64), recipe, 3)
    return [scores.logits, scores.label, scores.index]


def ask(config: dict[str, Any]) -> list[float]:
    """Top-1 of each seed, as the command evaluates."""
    return [done.result["top1"] for done in evaluate(config, [config["protocol"]])]


def shared() -> dict[str, Any]:
    """What the helpers give on this rank."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.full((1, 2), 1.0 + rank())
    sum_gradients(layer.parameters())
    assert layer.weight.grad is not None
    return {
        "share": [rank(), world_size()], "agree": agree(rank() == 0), "gradient": layer.weight.grad,
        "total": total(torch.tensor(2.0 + rank())),
    }  # fmt: skip


def perform(jobs: dict[str, tuple[str, tuple[Any, ...]]]) -> dict[str, Any]:
    """Every job's result; all in one go, since a rank takes seconds to import what it needs."""
    return {name: globals()[job](*arguments) for name, (job, arguments) in jobs.items()}


def jobs_of(data_root: Path) -> dict[str, tuple[str, tuple[Any, ...]]]:
    jobs: dict[str, tuple[str, tuple[Any, ...]]] = {}
    for name, method, protocol, recipe, batch in [
        ("linear", "pstl", "linear", {"epochs": 3, "view": "test", "standardise": True}, 7),
        ("nearest", "pstl", "nearest", {"k": 3}, 99),  # a single batch: one rank has none
        ("crops", "mamp", "linear", {"epochs": 2, "passes": 2, "batch_norm": True}, 7),
    ]:
        jobs[name] = "judge", (train_config(data_root, f"method={method}"), str(data_root), protocol, recipe, batch)
    for method, change in (("pstl", "method.encoder.dropout=0"), ("mamp", "method.probe.finetune.head_dropout=0")):
        config = train_config(data_root, f"method={method}", change)
        # 36 clips in batches of 7: the last step's lone clip joins the one before.
        recipe = {**config["method"]["probe"]["finetune"], "epochs": 2, "batch": 7, "lr": 1e-3, "warmup_epochs": 0}
        recipe |= {"drop_path": 0.0} if method == "mamp" else {"optimizer": "sgd", "lr": 0.05}
        jobs[f"finetune {method}"] = "tune", (config, str(data_root), recipe)
        jobs[f"half the rate {method}"] = "tune", (config, str(data_root), {**recipe, "lr": recipe["lr"] / 2})
    return jobs


class Evaluated(NamedTuple):
    """Results of one process and of both ranks, and the evaluation's files with their times after each of the calls."""

    alone: dict[str, Any]
    ranks: list[dict[str, Any]]
    files: list[dict[Path, tuple[int, Any]]]


@pytest.fixture(scope="module")
def done(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    run, jobs, threads = tmp_path_factory.mktemp("run"), jobs_of(data_root), torch.get_num_threads()
    train(train_config(data_root, "callbacks.probe=null"), run)
    place = (f"checkpoint='{run}'", f"data_root='{data_root}'", "seeds=[0,1]", "limit.epochs=2")
    config = compose("evaluate", "protocol=linear", *place)
    states = []

    def look() -> None:
        states.append({path: (path.stat().st_mtime_ns, read_json(path)) for path in run.glob("eval/*/*/*.json")})

    torch.set_num_threads(1)
    try:
        alone = perform({**jobs, "evaluate": ("ask", (config,))})
    finally:
        torch.set_num_threads(threads)
        module.batches, tuning.batches = batches, batches  # type: ignore[attr-defined]
    look()
    again = {"read": ("ask", (config,)), "evaluate": ("ask", ({**config, "rerun": True},)), "shared": ("shared", ())}
    ranks = run_ranks(perform, 2, {name: job for name, job in jobs.items() if "half" not in name} | again)
    look()
    return Evaluated(alone, ranks, states)


@pytest.mark.parametrize("job", ["linear", "nearest", "crops"])
def test_frozen_protocols_are_the_same_bits(done: Evaluated, job: str) -> None:
    for found in done.ranks:
        assert all(torch.equal(a, b) for a, b in zip(found[job], done.alone[job], strict=True))


@pytest.mark.parametrize("method", ["pstl", "mamp"])
def test_fine_tuning_is_the_same_but_for_the_order_of_sums(done: Evaluated, method: str) -> None:
    """BatchNorm spans the ranks, MAMP's crops are random."""
    logits, *rest = done.alone[f"finetune {method}"]
    other = done.alone[f"half the rate {method}"][0]
    assert (other - logits).abs().max() > 1e-3  # as it would be, were gradients halved
    for found in done.ranks:
        torch.testing.assert_close(found[f"finetune {method}"][0], logits, rtol=0, atol=2e-6)
        assert all(torch.equal(a, b) for a, b in zip(found[f"finetune {method}"][1:], rest, strict=True))


def test_only_rank_0_writes_and_it_writes_what_one_process_does(done: Evaluated) -> None:
    before, after = done.files
    assert len(before) == 3  # two seeds and their summary
    for found in done.ranks:
        assert found["evaluate"] == found["read"] == done.alone["evaluate"]
    assert before.keys() == after.keys()
    for path, (time, expected) in before.items():
        now, found = after[path]
        assert now > time
        same = [key for key in expected if key not in ("seconds", "encoder")]
        assert {key: found[key] for key in same} == {key: expected[key] for key in same}


def test_what_ranks_share(done: Evaluated) -> None:
    for place, found in enumerate(done.ranks):
        assert found["shared"]["share"] == [place, 2]
        assert found["shared"]["agree"] is True
        assert found["shared"]["gradient"].tolist() == [[3.0, 3.0]]
        assert found["shared"]["total"] == 5.0
    assert (rank(), world_size()) == (0, 1)
    assert agree(True)
    assert not agree(False)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.slow
def test_the_command_joins_the_ranks_that_srun_or_torchrun_starts(data_root: Path, tmp_path: Path) -> None:
    train(train_config(data_root, "callbacks.probe=null"), tmp_path)
    common = {"MASTER_ADDR": "127.0.0.1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "skelssl.evaluate", "protocol=knn", f"checkpoint={tmp_path}", "rerun=true",
               f"data_root={data_root}", "trainer.accelerator=cpu"]  # fmt: skip
    results = []
    for starter in ("srun", "torchrun"):
        port, ranks = str(free_port()), []
        for place in ("0", "1"):
            own = {"SLURM_PROCID": place, "SLURM_LOCALID": place} if starter == "srun" else {
                **torchrun, "RANK": place, "LOCAL_RANK": place}  # fmt: skip
            environment = {**os.environ, **common, **own, "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
            ranks.append(subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE))  # fmt: skip
        (first, error), (second, _) = (rank.communicate(timeout=240) for rank in ranks)
        assert [rank.returncode for rank in ranks] == [0, 0], error
        assert first.count("top-1") == 1
        assert second == ""  # only the first rank prints
        (path,) = tmp_path.glob("eval/knn/*/result.json")
        results.append({**read_json(path), "seconds": None, "encoder": None})
    assert results[0] == results[1]


def test_batches_of_a_share() -> None:
    class Store:
        def gather(self, rows: list[int], **_: Any) -> list[int]:
            return rows

    rows: Any = list(range(10))
    store: Any = Store()
    assert list(batches(store, rows, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [list(batches(store, rows, 4, (r, 2))) for r in range(2)] == [[[0, 1, 2, 3], [8, 9]], [[4, 5, 6, 7]]]
    assert list(batches(store, rows, 10, (1, 2))) == [rows]
