"""A training step as a chain of named parts, each of which can be run, compiled and watched apart from the others.

A form of a method writes its step once, ``on(name, function, *arguments)`` part by part. `plain` runs it as it stands.
A `Tape` cuts the graph between the parts, so that the backward pass of each can be watched too: the same numbers, since
a part goes on from the very gradient that the next one leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

FORWARD, BACKWARD = "forward", "backward"
Watch = Callable[[str, str], AbstractContextManager[None]]  # of a part and a pass
T = TypeVar("T")


class On(Protocol):
    """Runs a named part of a step."""

    def __call__(self, name: str, function: Callable[..., T], *arguments: Any) -> T: ...


def plain(name: str, function: Callable[..., T], *arguments: Any) -> T:
    """The part and nothing else."""
    return function(*arguments)


class Cut(NamedTuple):
    """An output of a part, and the leaf that stands for it in the parts after it."""

    output: Tensor
    leaf: Tensor


class Tape:
    """Runs the parts of one step under ``watch``, each on leaves, then their backward passes, the last one first."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.parts = watch, list[tuple[str, list[Cut]]]()

    def __call__(self, name: str, function: Callable[..., T], *arguments: Any) -> T:
        with self.watch(name, FORWARD):
            result = function(*arguments)
        cuts: list[Cut] = []

        def leaf(x: Any) -> Any:
            if not (isinstance(x, Tensor) and x.requires_grad):
                return x
            cuts.append(Cut(x, x.detach().requires_grad_()))
            return cuts[-1].leaf

        result = tree_map(leaf, result)
        self.parts.append((name, cuts))
        found: T = result
        return found

    def backward(self) -> None:
        """From the last part's only output, a loss (), to the weights."""
        loss = self.parts[-1][1][0]
        loss.leaf.grad = torch.ones_like(loss.output)
        while self.parts:
            name, cuts = self.parts.pop()
            reached = [cut for cut in cuts if cut.leaf.grad is not None]
            if reached:
                with self.watch(name, BACKWARD):
                    torch.autograd.backward([cut.output for cut in reached], [cut.leaf.grad for cut in reached])


def every(*watches: Watch) -> Watch:
    """All of ``watches`` at once, the first one outermost."""

    @contextmanager
    def watch(name: str, way: str) -> Iterator[None]:
        if not watches:
            yield
            return
        with watches[0](name, way), every(*watches[1:])(name, way):
            yield

    return watch


def tensors(tree: Any) -> list[Tensor]:
    """The tensors of a nested structure."""
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]
