"""Many processes for one run: which one this is, and how a parent starts and watches the ranks of one machine.

Lightning starts nothing: its child would run the whole command again, sweep and all. torch's process launcher starts
``python -m skelssl.rank RUN`` once for each rank instead, and the run folder says everything else. Under torchrun and
srun the process already is a rank.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext, start_processes
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from skelssl.errors import RankError, Stopped, UserError
from skelssl.parallel import join
from skelssl.signals import Signals

AGAIN = "the same command goes on from its last checkpoint"
TIMEOUT = timedelta(minutes=30)  # of a collective: the longest that ranks wait for a probe on the first one


@dataclass(frozen=True)
class Place:
    """This process among the ranks of a run."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def place() -> Place | None:
    """What torchrun, srun or our own parent says of this process; None where it is no rank.

    A step of srun has SLURM_STEP_NUM_TASKS; a batch script, which starts the command once, has not.
    """
    env = os.environ
    if dist.is_torchelastic_launched():
        keys = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Place(*(int(env[key]) for key in keys))
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        world, nodes = int(env["SLURM_STEP_NUM_TASKS"]), int(env["SLURM_STEP_NUM_NODES"])
        return Place(int(env["SLURM_PROCID"]), world, int(env["SLURM_LOCALID"]), world // nodes)
    return None


def uses_gpu(trainer: Mapping[str, Any]) -> bool:
    """Whether the ranks of this ``trainer`` block train on GPUs; raises UserError for anything but CPUs and GPUs."""
    accelerator = trainer["accelerator"]
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise UserError(f"trainer.accelerator: found {accelerator!r}, expected auto, cpu or gpu with trainer=ddp")
    return accelerator != "cpu" and torch.cuda.is_available()


def ranks_wanted(trainer: Mapping[str, Any]) -> int:
    """Ranks that ``trainer=ddp`` starts on this machine, ``trainer.devices``; auto is one for every GPU."""
    devices, gpu = trainer["devices"], uses_gpu(trainer)
    if devices == "auto":
        if gpu:
            return torch.cuda.device_count()
        raise UserError("trainer.devices: found auto and no GPU, expected the number of processes, such as 2")
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        raise UserError(f"trainer.devices: found {devices!r}, expected auto or a whole number of at least 1")
    if gpu and devices > torch.cuda.device_count():
        raise UserError(f"trainer.devices: found {devices}, expected at most the {torch.cuda.device_count()} GPUs here")
    return devices


@contextmanager
def joined(here: Place | None, trainer: Mapping[str, Any]) -> Iterator[None]:
    """The process group of all ranks, NCCL on GPUs and gloo on CPUs; nothing where this process is none.

    From here on only the first rank prints.
    """
    if here is None:
        yield
        return
    if not dist.is_torchelastic_launched():
        _say_as_torchrun(here)
    if here.rank:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    gpu = uses_gpu(trainer)
    device = torch.device("cuda", here.local_rank) if gpu else None
    if device:
        torch.cuda.set_device(device)
    join("nccl" if gpu else "gloo", timeout=TIMEOUT, device_id=device)
    yield
    dist.destroy_process_group()  # not after an error: it would wait for ranks that are gone


def _say_as_torchrun(here: Place) -> None:
    """SLURM's variables under the names that torch and Lightning read."""
    slurm = SLURMEnvironment(auto_requeue=False)
    said = {
        "RANK": here.rank, "WORLD_SIZE": here.world, "LOCAL_RANK": here.local_rank,
        "LOCAL_WORLD_SIZE": here.local_world, "GROUP_RANK": here.rank // here.local_world,
        "MASTER_ADDR": slurm.main_address, "MASTER_PORT": slurm.main_port,
        "TORCHELASTIC_RUN_ID": os.environ.get("SLURM_JOB_ID", "slurm"),
    }  # fmt: skip
    os.environ.update({key: str(value) for key, value in said.items()})


def supervise(folder: Path, world: int) -> None:
    """Trains the run in ``folder`` on ``world`` ranks of this machine and returns when all have ended well.

    Signals reach every rank; the ranks save and end, then the signal goes to whoever handled it before. Raises
    UserError for a mistake that a rank found, RankError for one that was killed or failed, Stopped after a signal.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the sentence below says it
    signals, interrupt = Signals(), signal.getsignal(signal.SIGINT)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    with TemporaryDirectory() as logs:
        context = start_processes(
            "rank", sys.executable, dict.fromkeys(range(world), ("-m", "skelssl.rank", str(folder))),
            _environments(world, store.port), DefaultLogsSpecs(log_dir=logs),
        )  # fmt: skip
        signals.listen(lambda number: _tell(context, number))
        signal.signal(signal.SIGINT, interrupt)
        try:
            result = context.wait(period=0.1)
        finally:
            context.close()
            number = signals.number
            signals.restore()
        assert result is not None
        try:
            _check(result.failures, world, folder)
        except (Stopped, RankError):
            if number:
                signals.hand_on(number, f"{folder}: {AGAIN}")
            raise


def _environments(world: int, port: int) -> dict[int, dict[str, str]]:
    """What torchrun sets; the store is the parent's, so no port can be lost to another process in between."""
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // world, 1)))
    common = {
        "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "skelssl", "TORCHELASTIC_USE_AGENT_STORE": True,
        "OMP_NUM_THREADS": threads,
    }  # fmt: skip
    own = [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in range(world)]
    return {rank: {key: str(value) for key, value in env.items()} for rank, env in enumerate(own)}


def _tell(context: PContext, number: int) -> None:
    for pid in context.pids().values():
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it has just ended
            continue


def _check(failures: Mapping[int, ProcessFailure], world: int, folder: Path) -> None:
    """Raises what the rank that ended first has to say; the others only lost their peer."""
    if not failures:
        return
    first = min(failures.values(), key=_guilt)
    message, trace = _said(first)
    for error in (UserError, Stopped):
        if first.exitcode == error.exit_code:
            raise error(message.partition(": ")[2])
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        raise RankError(f"rank {first.local_rank} of {world} was killed by {name}; {folder}: {AGAIN}")
    print(trace, file=sys.stderr)
    raise RankError(f"rank {first.local_rank} of {world} failed ({message}); {folder}: {AGAIN}")


def _guilt(failure: ProcessFailure) -> tuple[int, int, int]:
    """Smallest for the rank that the others fell over: killed, else in error, else ended by the parent."""
    by_parent = failure.exitcode == -signal.SIGTERM
    return (2 if by_parent else int(failure.exitcode > 0), failure.timestamp, failure.local_rank)


def _said(failure: ProcessFailure) -> tuple[str, str]:
    """What a rank recorded of its end: the error, and its traceback."""
    said: Any = failure.message
    return (said["message"], said["extraInfo"]["py_callstack"]) if isinstance(said, Mapping) else (said, "")
