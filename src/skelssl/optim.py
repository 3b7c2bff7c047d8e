"""Optimisers and learning-rate schedules as data: the ``optim`` block of every method."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam, AdamW, Optimizer

from skelssl.core.schema import at_least, check_fields, expect, read_block


class RateSchedule(Protocol):
    """The keys that a learning-rate schedule depends on; pre-training and probes each have a block with them."""

    @property
    def lr(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup_epochs(self) -> float: ...
    @property
    def min_lr(self) -> float: ...
    @property
    def milestones(self) -> tuple[int, ...]: ...
    @property
    def gamma(self) -> float: ...


def rate(plan: RateSchedule, epoch: float) -> float:
    """Return the learning rate at a (fractional) 0-based epoch: warm-up from 0, then cosine, steps or a constant."""
    if epoch < plan.warmup_epochs:
        return plan.lr * epoch / plan.warmup_epochs
    if plan.schedule == "step":
        return float(plan.lr * plan.gamma ** sum(epoch >= milestone for milestone in plan.milestones))
    if plan.schedule == "constant":
        return plan.lr
    done = (epoch - plan.warmup_epochs) / (plan.epochs - plan.warmup_epochs)
    return plan.min_lr + (plan.lr - plan.min_lr) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    """An optimiser and its learning-rate schedule, which depends on the epoch alone and so has no state to resume.

    Raises:
        UserError: for an unknown optimiser, schedule or interval, and for numbers out of range; it names the key.
    """

    name: Literal["adam", "adamw", "sgd"]  # adam: L2 added to the gradient
    lr: Annotated[float, at_least(0)]
    epochs: Annotated[int, at_least(1)]  # horizon of the schedule
    weight_decay: Annotated[float, at_least(0)] = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Annotated[float, at_least(0)] = 1e-8  # not sgd
    momentum: Annotated[float, at_least(0)] = 0.9  # sgd only
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    interval: Literal["epoch", "step"] = "epoch"  # epoch: one rate per epoch | step: the fractional epoch of every step
    warmup_epochs: Annotated[float, at_least(0)] = 0
    min_lr: Annotated[float, at_least(0)] = 0.0
    milestones: tuple[int, ...] = ()  # step: lr x gamma from each of these epochs on
    gamma: Annotated[float, at_least(0)] = 0.1
    stop_epoch: Annotated[int | None, at_least(1)] = None  # stop before the horizon
    clip: float | None = None  # largest gradient norm

    def __post_init__(self) -> None:
        check_fields(self, "method.optim")
        late = self.schedule == "cosine" and self.warmup_epochs >= self.epochs
        expect("method.optim.warmup_epochs", self.warmup_epochs, not late, f"fewer than {self.epochs} epochs")

    @classmethod
    def parse(cls, block: Mapping[str, Any]) -> Optim:
        """Read the block ``method.optim``; raises UserError for an unknown or missing key and for a wrong value."""
        return read_block(cls, block, "method.optim")

    @property
    def last_epoch(self) -> int:
        """Number of epochs that are run."""
        return self.epochs if self.stop_epoch is None else min(self.epochs, self.stop_epoch)

    def rate(self, epoch: float) -> float:
        """Return the learning rate at a (fractional) 0-based epoch.

        >>> o = Optim(name="adam", lr=5e-3, epochs=150, warmup_epochs=10)
        >>> [round(o.rate(e), 6) for e in (0, 5, 10, 80)]
        [0.0, 0.0025, 0.005, 0.0025]
        """
        return rate(self, epoch)

    def set_rate(self, optimizer: Optimizer, epoch: int, done: float) -> None:
        """Set each group's learning rate, times its ``lr_scale``, once the fraction ``done`` of the epoch is over."""
        rate = self.rate(epoch + (done if self.interval == "step" else 0.0))
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)

    def clip_gradients(self, optimizer: Optimizer) -> None:
        """Clip the common norm of all gradients at ``clip``, where there is one."""
        if self.clip is not None:
            clip_norm([p for group in optimizer.param_groups for p in group["params"]], self.clip)

    def build(self, parameters: Iterable[Any]) -> Optimizer:
        """Build the optimiser over parameters or groups of them, fused into one kernel where torch has one."""
        common: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": fused_available()}
        if self.name == "sgd":
            return SGD(parameters, momentum=self.momentum, **common)
        return (Adam if self.name == "adam" else AdamW)(parameters, betas=self.betas, eps=self.eps, **common)


def decay_groups(parameters: Iterable[tuple[str, Tensor]], exempt: Collection[str] = ()) -> list[dict[str, Any]]:
    """Split the named parameters that train into two groups: with weight decay, and without it.

    Args:
        parameters: (name, parameter) pairs, as ``named_parameters()`` yields them.
        exempt: beginnings of names that are not decayed; nor are biases, norms and other 1-D parameters.
    """
    named = [(name, p) for name, p in parameters if p.requires_grad]
    spared = {name for name, p in named if p.ndim < 2 or name.startswith(tuple(exempt))}
    return [
        {"params": [p for name, p in named if name not in spared]},
        {"params": [p for name, p in named if name in spared], "weight_decay": 0.0},
    ]


def clip_norm(parameters: Iterable[Tensor], largest: float) -> None:
    """Scale all gradients alike so that their common L2 norm is at most ``largest``, without waiting for the norm."""
    parameters = [p for p in parameters if p.grad is not None]
    clip_grad_norm_(parameters, largest, foreach=fused_available())


def fused_available() -> bool:
    """Return whether torch has fused and foreach kernels: for CUDA and, since torch 2.4, for CPU, not for MPS."""
    return not torch.backends.mps.is_available()
