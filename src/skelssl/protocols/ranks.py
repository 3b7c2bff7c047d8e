"""Evaluation on several ranks: every rank encodes its share of the clips, all judge the joined features, rank 0 writes.

The ranks are processes that torchrun has started. Nothing here does anything in a single process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from skelssl.parallel import gather, join, rank, world_size


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
