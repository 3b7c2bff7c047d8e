"""Exchange tensors between ranks so that W ranks equal one process that holds the whole batch.

Everything here is a plain pass-through when no process group is up, and runs on CPU (gloo) as on GPU.
Gradients follow one rule: a collective's backward sums over the ranks, so that the mean over ranks that DDP takes
gives exactly the gradient of one process that holds the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from skelssl.core.errors import UserError


def world_size() -> int:
    """Return the number of ranks in the process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process in its process group, 0 without one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def join(backend: str, **how: Any) -> None:
    """Call ``init_process_group(backend, **how)``; with gloo, wait until every rank is connected.

    Gloo by itself returns as soon as this rank is connected: if the process then ends early, the others fail to start.
    """
    dist.init_process_group(backend, **how)
    if "gloo" in backend:
        try:
            dist.all_reduce(torch.zeros(()))
        except BaseException:
            dist.destroy_process_group()
            raise


def on_first(task: Callable[[], None]) -> None:
    """Run ``task`` on the first rank, while the others wait; its UserError is raised on all of them."""
    message: list[str | None] = [None]
    if rank() == 0:
        try:
            task()
        except UserError as error:
            message = [str(error)]
    if world_size() > 1:
        dist.broadcast_object_list(message)
    if message[0] is not None:
        raise UserError(message[0])


def gather(x: Tensor, *, even: bool = False) -> Tensor:
    """Return all ranks' rows in rank order, (n_0 + ... + n_W-1, ...), with gradient; x itself without a process group.

    x: (n_rank, ...), n may differ between ranks and may be 0. ``even=True`` promises that it does not differ: that
    saves the exchange of sizes, which on a GPU makes the host wait. Backward: sum over ranks, then this rank's rows.
    """
    return x if world_size() == 1 else cast(Tensor, _Gather.apply(x, even))  # type: ignore[no-untyped-call]


def _sizes(x: Tensor, even: bool) -> list[int]:
    if even:
        return [len(x)] * world_size()
    sizes = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(x)], device=x.device))
    return cast(list[int], torch.cat(sizes).tolist())


def _all_gather(x: Tensor, sizes: Sequence[int]) -> Tensor:
    longest = max(sizes)  # gloo takes equal shapes only, hence the padding
    padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])]).contiguous()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, even: bool) -> Tensor:
        sizes = _sizes(x, even)
        ctx.start, ctx.length = sum(sizes[: rank()]), len(x)
        return _all_gather(x, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(0, ctx.start, ctx.length), None
