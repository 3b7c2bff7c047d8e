"""Runs a function on W gloo ranks, each a process of its own with one thread."""

from __future__ import annotations

import io
import multiprocessing as mp
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from skelssl.runtime.collectives import join

ROOT = str(Path(__file__).parents[2])


def run_ranks(function: Callable[..., Any], world: int, *args: Any) -> list[Any]:
    """Results of ``function(*args)`` on each rank, in rank order; an error on any rank is raised here.

    ``function`` is a module-level function; it returns tensors, numbers, strings, or lists and dicts of them.
    """
    if ROOT not in sys.path:
        sys.path.append(ROOT)  # the ranks inherit the path, and look the function up as tests.<module>.<name>
    context = mp.get_context("forkserver")  # a clean process that imported torch once: each rank starts in milliseconds
    context.set_forkserver_preload(["torch", "torch.distributed", "skelssl.runtime.collectives"])
    with TemporaryDirectory() as folder, ProcessPoolExecutor(world, context) as pool:
        store = str(Path(folder) / "store")  # a file, because two workers of pytest can fight for one port
        jobs = [pool.submit(_rank, store, world, rank, function, args) for rank in range(world)]
        return [torch.load(io.BytesIO(job.result()), weights_only=True) for job in jobs]


def step_under_ddp(method: Any, trained: Sequence[nn.Module], batch: Any) -> dict[str, Any]:
    """Loss and gradients of ``method.training_step`` on this rank's ``batch``, averaged over the ranks if several."""

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(trained)

        def forward(self, batch: Any) -> torch.Tensor:
            loss: torch.Tensor = method.training_step(batch, 0)
            return loss

    step = Step()
    model = DistributedDataParallel(step) if dist.is_initialized() else step  # it must live until the backward pass
    loss = model(batch)
    loss.backward()
    return {"loss": loss.item(), "grads": {name: p.grad for name, p in step.named_parameters()}}


def _rank(store: str, world: int, rank: int, function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    torch.set_num_threads(1)
    join("gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=60))
    try:
        buffer = io.BytesIO()
        torch.save(function(*args), buffer)
    finally:
        dist.destroy_process_group()
    return buffer.getvalue()
