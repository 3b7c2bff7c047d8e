"""What makes W ranks equal to one process: batch statistics, gathered batches and random draws.

Everything here is a plain pass-through when no process group is up, and runs on CPU (gloo) as on GPU.
Gradients follow one rule: a collective's backward sums over the ranks, so that the mean over ranks that DDP takes
gives exactly the gradient of one process that holds the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from skelssl.errors import UserError


def world_size() -> int:
    """Ranks in the process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's place in the process group, 0 without one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def join(backend: str, **how: Any) -> None:
    """``init_process_group(backend, **how)``; with gloo it comes back when every rank is connected.

    By itself gloo lets a rank go as soon as that one has connected: if it then ends early, the others' start fails.
    """
    dist.init_process_group(backend, **how)
    if "gloo" in backend:
        try:
            dist.all_reduce(torch.zeros(()))
        except BaseException:
            dist.destroy_process_group()
            raise


def on_first(task: Callable[[], None]) -> None:
    """``task`` on the first rank, while the others wait; its UserError is raised on all of them."""
    said: list[str | None] = [None]
    if rank() == 0:
        try:
            task()
        except UserError as error:
            said = [str(error)]
    if world_size() > 1:
        dist.broadcast_object_list(said)
    if said[0] is not None:
        raise UserError(said[0])


def gather(x: Tensor, *, even: bool = False) -> Tensor:
    """All ranks' rows in rank order, (n_0 + ... + n_W-1, ...), with gradient; x itself without a process group.

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


class SyncBatchNorm(_BatchNorm):
    """Batch norm whose training statistics span all ranks; plain batch norm in one process and in evaluation.

    x: (n_rank, C, ...); n (at least 1) and the trailing shape may differ between ranks. Output, gradients and running
    statistics equal those of ``nn.BatchNorm`` over the concatenated batch. torch's own class refuses CPU tensors.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected an input of at least 2 dimensions (N, C, ...), found {input.ndim}")

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it talks to the other ranks
    def forward(self, input: Tensor) -> Tensor:
        if world_size() == 1 or not (self.training or self.running_mean is None):
            return super().forward(input)
        self._check_input_dim(input)
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        x, mean, var, count = _Normalise.apply(wide, self.eps)  # type: ignore[no-untyped-call]
        self._track(mean, var * count / (count - 1))
        if self.affine:
            shape = (1, -1) + (1,) * (x.ndim - 2)
            x = torch.addcmul(self.bias.view(shape), x, self.weight.view(shape))
        return cast(Tensor, x.to(input.dtype))

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_var: Tensor) -> None:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            for running, now in ((self.running_mean, mean), (self.running_var, unbiased_var)):
                cast(Tensor, running).lerp_(now.to(cast(Tensor, running).dtype), step)


class _Normalise(Function):
    """(n, C, ...) -> (x - mean) / sqrt(var + eps) over all ranks, and mean (C,), biased var (C,), count ()."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.dims, ctx.shape = [0, *range(2, x.ndim)], (1, -1) + (1,) * (x.ndim - 2)
        var, mean = torch.var_mean(x, ctx.dims, correction=0)
        local = torch.cat([mean, var, mean.new_full((1,), x.numel() // x.shape[1])])
        counts, means, variances = _split(_all_gather(local[None], [1] * world_size()))
        count = counts.sum()
        # Variances of parts combine without the cancellation that E[x²] - E[x]² suffers.
        mean = (counts * means).sum(0) / count
        var = (counts * (variances + (means - mean).square())).sum(0) / count
        inverse_std = (var + eps).rsqrt()
        x = (x - mean.view(ctx.shape)).mul_(inverse_std.view(ctx.shape))
        ctx.save_for_backward(x, inverse_std, count)
        ctx.mark_non_differentiable(mean, var, count)
        return x, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        x, inverse_std, count = ctx.saved_tensors
        means = torch.stack([grad.sum(ctx.dims), (grad * x).sum(ctx.dims)])
        dist.all_reduce(means)
        first, second = (means / count).view(2, *ctx.shape)
        return (grad - first - x * second).mul_(inverse_std.view(ctx.shape)), None


def _split(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(W, 2C + 1) -> counts (W, 1), means (W, C), variances (W, C)."""
    means, variances = rows[:, :-1].chunk(2, dim=1)
    return rows[:, -1:], means, variances


def convert(module: nn.Module) -> nn.Module:
    """Turns every BatchNorm1d and BatchNorm2d in ``module`` into SyncBatchNorm, in place, and returns it.

    Only the class changes: parameters, buffers, hooks and state-dict keys are the very same objects.
    """
    for part in module.modules():
        if type(part) in (nn.BatchNorm1d, nn.BatchNorm2d):
            part.__class__ = SyncBatchNorm
    return module


def share(total: int, rank: int, world: int) -> slice:
    """Which of ``total`` clips rank ``rank`` of ``world`` takes: neighbours, so that gathering restores the order.

    Where ``world`` does not divide ``total`` the first ranks take one more.

    >>> [share(10, r, 4) for r in range(4)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None), slice(8, 10, None)]
    """
    each, more = divmod(total, world)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def _hash(*key: object) -> int:
    """The same 63 bits on every machine, which Python's own hash does not give."""
    return int.from_bytes(blake2b("/".join(map(str, key)).encode(), digest_size=8).digest(), "big") >> 1


def step_generator(seed: int, epoch: int, step: int, scope: str | int) -> torch.Generator:
    """CPU generator of one training step: ``scope`` is "shared", for all ranks alike, or a rank's number for its own.

    It depends on its arguments alone, so a resumed run draws what an uninterrupted one would have drawn.
    """
    return torch.Generator().manual_seed(_hash("draws", seed, epoch, step, scope))


class ClipGenerator(torch.Generator):
    """Draws for the clips of one global batch of ``total``, of which this rank holds ``mine``.

    `per_clip` draws for all of them, on every rank alike, and keeps this rank's part: clip i meets the same numbers
    whatever the number of ranks.
    """

    total: int
    mine: slice


def clip_generator(seed: int, epoch: int, step: int, total: int, mine: slice) -> ClipGenerator:
    """The generator of one step's clips; in one process it draws what ``step_generator(..., 0)`` draws."""
    generator = ClipGenerator()
    generator.manual_seed(step_generator(seed, epoch, step, 0).initial_seed())
    generator.total, generator.mine = total, mine
    return generator


def per_clip(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None, clips: int = 0
) -> Tensor:
    """``draw(shape, generator=generator)``, whose dimension ``clips`` counts this rank's clips, or K numbers for each.

    Every random number of views and maskers that belongs to a clip is drawn through here.
    """
    if not isinstance(generator, ClipGenerator):
        return draw(tuple(shape), generator=generator)
    start, stop = generator.mine.start, generator.mine.stop
    each, rest = divmod(shape[clips], stop - start)
    if rest:
        raise ValueError(
            f"expected {stop - start} clips or a multiple in dimension {clips}, found shape {tuple(shape)}"
        )
    whole = [*shape[:clips], generator.total * each, *shape[clips + 1 :]]
    return draw(tuple(whole), generator=generator).narrow(clips, start * each, shape[clips])


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seeds torch's global generators, which dropout uses, for one step of one rank, on every device."""
    torch.manual_seed(_hash("global", seed, epoch, step, rank))
