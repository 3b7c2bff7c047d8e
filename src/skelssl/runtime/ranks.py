"""Evaluation on several ranks: every rank encodes its share of the clips, all judge the joined features, rank 0 writes.

The ranks are processes that torchrun has started. Nothing here does anything in a single process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.runtime.collectives import gather, join, rank, world_size


@contextmanager
def ranks() -> Iterator[None]:
    """Joins the processes of torchrun for the time of the block; leaves a group that is already up alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    join("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def share() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    return rank(), world_size()


def local_rank() -> int:
    """This process's place on its machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if world_size() > 1 else 0


def agree(yes: bool) -> bool:
    """What rank 0 says: ranks that look at a disk at different times may see different files."""
    return bool(gather(torch.tensor([yes]).long(), even=True)[0])


def say(text: str) -> None:
    """Prints on rank 0."""
    if rank() == 0:
        print(text, flush=True)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Adds up the gradients of all ranks, in place; each rank's loss is its part of one sum."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def total(value: Tensor) -> Tensor:
    """Sum over the ranks of a scalar."""
    return gather(value[None], even=True).sum()


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
