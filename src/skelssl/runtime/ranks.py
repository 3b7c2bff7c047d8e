"""Find out which rank a process is, join its process group, and work with the other ranks.

Ranks are processes that torchrun, srun or our own parent (`launch.supervise`) has started. In a single process
everything here is a pass-through.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.runtime.collectives import gather, join, rank, world_size

TIMEOUT = timedelta(minutes=30)  # of a collective: the longest that ranks wait for a probe on the first one


@dataclass(frozen=True)
class Rank:
    """A process among the ranks of a run: its number among all of them, and among those of its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def launched_rank() -> Rank | None:
    """Return the rank that torchrun, srun or our own parent started this process as, None where it is no rank.

    A step of srun has SLURM_STEP_NUM_TASKS; a batch script, which starts the command once, has not.
    """
    env = os.environ
    if dist.is_torchelastic_launched():
        keys = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Rank(*(int(env[key]) for key in keys))
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        world, nodes = int(env["SLURM_STEP_NUM_TASKS"]), int(env["SLURM_STEP_NUM_NODES"])
        return Rank(int(env["SLURM_PROCID"]), world, int(env["SLURM_LOCALID"]), world // nodes)
    return None


def uses_gpu(trainer: Mapping[str, Any]) -> bool:
    """Return whether the ranks of this ``trainer`` block run on GPUs; raise UserError for an unknown accelerator."""
    accelerator = trainer["accelerator"]
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise UserError(f"trainer.accelerator: found {accelerator!r}, expected auto, cpu or gpu with trainer=ddp")
    return accelerator != "cpu" and torch.cuda.is_available()


def ranks_wanted(trainer: Mapping[str, Any]) -> int:
    """Return how many ranks ``trainer=ddp`` starts on this machine: ``trainer.devices``, with auto one per GPU."""
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
def process_group(me: Rank | None, trainer: Mapping[str, Any], *, host_tensors: bool = False) -> Iterator[None]:
    """Join the process group of all ranks for the time of the block, in which only the first rank prints.

    The backend is NCCL on GPUs and gloo on CPUs; with ``host_tensors`` ranks on GPUs also exchange CPU tensors, by
    gloo. Nothing happens where this process is no rank, or where a group is up already.
    """
    if me is None or dist.is_initialized():
        yield
        return
    if not dist.is_torchelastic_launched():
        _export_as_torchrun(me)
    if not uses_gpu(trainer):
        join("gloo", timeout=TIMEOUT)
    elif host_tensors:
        torch.cuda.set_device(me.local_rank)
        join("cpu:gloo,cuda:nccl", timeout=TIMEOUT)
    else:
        torch.cuda.set_device(me.local_rank)
        join("nccl", timeout=TIMEOUT, device_id=torch.device("cuda", me.local_rank))
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if me.rank else sys.stdout):
            yield
    except UserError:  # all ranks raise it, and the next job of a sweep joins a group of its own
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()  # not after another error: it would wait for ranks that are gone


def _export_as_torchrun(me: Rank) -> None:
    """Set SLURM's variables under the names that torch and Lightning read."""
    slurm = SLURMEnvironment(auto_requeue=False)
    variables = {
        "RANK": me.rank, "WORLD_SIZE": me.world, "LOCAL_RANK": me.local_rank,
        "LOCAL_WORLD_SIZE": me.local_world, "GROUP_RANK": me.rank // me.local_world,
        "MASTER_ADDR": slurm.main_address, "MASTER_PORT": slurm.main_port,
        "TORCHELASTIC_RUN_ID": os.environ.get("SLURM_JOB_ID", "slurm"),
    }  # fmt: skip
    os.environ.update({key: str(value) for key, value in variables.items()})


def local_rank() -> int:
    """Return the rank of this process on its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if world_size() > 1 else 0


def agree(yes: bool) -> bool:
    """Return the first rank's ``yes`` on all ranks: files seen on a disk may differ between ranks."""
    return bool(gather(torch.tensor([yes]).long(), even=True)[0])


def say(text: str) -> None:
    """Print on the first rank alone."""
    if rank() == 0:
        print(text, flush=True)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients of all ranks in place; each rank's loss is its summand of one total loss."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def total(value: Tensor) -> Tensor:
    """Return the sum of a scalar over the ranks."""
    return gather(value[None], even=True).sum()
