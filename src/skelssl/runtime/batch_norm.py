"""Compute batch norm with statistics that span all ranks, on CPU and GPU."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from skelssl.runtime.collectives import _all_gather, world_size


class SyncBatchNorm(_BatchNorm):
    """Batch norm whose training statistics span all ranks; plain batch norm in one process and in evaluation.

    x: (n_rank, C, ...); n (at least 1) and the trailing shape may differ between ranks. Output, gradients and running
    statistics equal those of ``nn.BatchNorm`` over the concatenated batch. torch's own class rejects CPU tensors.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected an input of at least 2 dimensions (N, C, ...), found {input.ndim}")

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it communicates with the other ranks
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
        # Variances of shards combine without the cancellation that E[x²] - E[x]² suffers.
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


def sync_batch_norms(module: nn.Module) -> nn.Module:
    """Turn every BatchNorm1d and BatchNorm2d in ``module`` into SyncBatchNorm, in place, and return the module.

    Only the class changes: parameters, buffers, hooks and state-dict keys are the very same objects.
    """
    for part in module.modules():
        if type(part) in (nn.BatchNorm1d, nn.BatchNorm2d):
            part.__class__ = SyncBatchNorm
    return module
