"""One way to take a training step of a method, and what both ways start from: configuration, weights, clips."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.naive.batches import padded
from benchmarks.tape import On
from skelssl.core.compose import composed, resolved
from skelssl.data.batch import Batch
from skelssl.data.recipes import RecipeConfig
from skelssl.data.resident import Resident
from skelssl.data.store import RecipeStore
from skelssl.methods.base import Method
from skelssl.methods.build import build_method
from skelssl.optim import clip_norm
from skelssl.skeleton.layout import load_layout

BACKEND = "inductor"  # of torch.compile
RATE = 1e-5  # small, so that many steps on noise stay finite
FRAMES = {"aimclr": (50, 50)}  # to which a recipe resamples; other recipes leave clips as long as they are
RAGGED = (60, 140)  # frames of clips of no dataset in particular, evenly spread
SINGLE = 0.8  # fraction of clips that show one person: 49 of NTU-60's 60 classes do
T = TypeVar("T")


def configuration(method: str, overrides: Sequence[str] = (), *, small: bool = False) -> dict[str, Any]:
    """The published training of ``method`` with ``overrides``; ``small`` is ``debug=smoke``'s."""
    base = [f"method={method}", "dataset=ntu60_xsub", *(["debug=smoke"] if small else [])]
    return resolved(composed("train", [*base, *overrides]))


def make_store(config: dict[str, Any], folder: Path, clips: int, frames: tuple[int, int] | None = None) -> RecipeStore:
    """A store of smooth random motion under ``folder``, its clips between ``frames`` long."""
    recipe = RecipeConfig.parse(config["method"]["recipe"])
    draw = np.random.default_rng(0)
    low, high = frames or FRAMES.get(recipe.name, RAGGED)
    lengths = draw.integers(low, high + 1, clips)
    joints = len(load_layout(config["dataset"]["layout"]).joints)
    steps = draw.standard_normal((int(lengths.sum()), 2, joints, 3), np.float32)
    parts = [part.cumsum(0) / 10 for part in np.split(steps, lengths.cumsum()[:-1])]
    for n, part in enumerate(parts):
        if n % 10 < 10 * SINGLE:
            part[:, 1] = 0
    np.save(folder / "x.npy", np.concatenate(parts))
    np.save(folder / "offsets.npy", np.cumsum([0, *lengths], dtype=np.int64))
    about = {"recipe": recipe.parameters, "layout": config["dataset"]["layout"], "parsed": "", "fingerprint": "",
             "names": [str(n) for n in range(clips)], "labels": [n % 60 for n in range(clips)], "facts": {},
             "skipped": {}}  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(about))
    return RecipeStore(folder, recipe)


class Form(ABC):
    """A form of a method's training step. It owns ``method``; forms made from equal weights take equal steps.

    ``dtype`` and ``device`` are those of the clips; the weights must already have them.
    """

    name: ClassVar[str] = "ours"
    plain_optimiser: ClassVar[bool] = False  # as torch has it by default, not fused
    compiles: ClassVar[tuple[str, ...]] = ()  # parts that torch.compile takes
    may_differ: ClassVar[tuple[str, ...]] = ()  # beginnings of names in the state dict, where forms have another state

    def __init__(self, method: Method, store: RecipeStore, *, device: str = "cpu") -> None:
        self.method: Any = method
        self.store, self.device, self.dtype = store, device, next(method.parameters()).dtype
        self.optimiser = self.build_optimiser()
        self.compiled: dict[str, Callable[..., Any]] | None = None

    @abstractmethod
    def loss(self, on: On, rows: Any, generator: torch.Generator) -> Tensor:
        """The loss () of the clips ``rows``, part by part."""

    def follow(self, on: On) -> None:  # noqa: B027
        """What comes after the optimiser's step: averages, queues."""

    def step(self, on: On, backward: Callable[[Tensor], None], rows: Any, generator: torch.Generator) -> float:
        """A whole training step; returns its loss."""
        on("optimiser", self.optimiser.zero_grad)
        loss = self.loss(self.maybe_compiled(on), rows, generator)
        backward(loss)
        on("optimiser", self.optimise)
        self.follow(on)
        return float(loss.detach())

    def begin(self) -> None:
        """Makes the optimiser's state, which is there in every step but the first, by a step of no gradient."""
        for group in self.optimiser.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        self.optimiser.step()
        self.optimiser.zero_grad()

    def optimise(self) -> None:
        if (clip := self.method.optim.clip) is not None:
            trained = [p for group in self.optimiser.param_groups for p in group["params"]]
            if self.plain_optimiser:
                nn.utils.clip_grad_norm_(trained, clip)
            else:
                clip_norm(trained, clip)
        self.optimiser.step()

    def build_optimiser(self) -> torch.optim.Optimizer:
        groups = self.method.parameter_groups()
        found: torch.optim.Optimizer = self.method.optim.build(groups)
        if self.plain_optimiser:
            known = ("lr", "betas", "eps", "weight_decay", "momentum")
            kept = {key: value for key, value in found.defaults.items() if key in known}
            found = type(found)(self.method.parameter_groups(), **kept)  # type: ignore[call-arg]
        for group in found.param_groups:
            group["lr"] = RATE
        return found

    def maybe_compiled(self, on: On) -> On:
        """Runs the parts in `compiles` under torch.compile once `compiled` is a dictionary, which keeps them."""
        if self.compiled is None:
            return on
        known = self.compiled

        def wrapped(name: str, function: Callable[..., T], *arguments: Any) -> T:
            if name in self.compiles:
                key = f"{name}:{getattr(function, '__qualname__', type(function).__name__)}"
                function = known.setdefault(key, torch.compile(function, dynamic=False, backend=BACKEND))
            return on(name, function, *arguments)

        return wrapped

    @cached_property
    def clips(self) -> RecipeStore | Resident:
        """Where a step finds its clips: on a GPU, if that is where it runs, as ``loader.resident=auto`` has it."""
        if self.device.startswith("cuda"):
            return Resident(self.store, np.arange(len(self.store)), torch.device(self.device))
        return self.store

    def gather(self, rows: Any) -> Batch:
        """The clips ``rows`` of the store on the device."""
        return self.on_device(self.clips.gather(rows))

    def on_device(self, batch: Batch) -> Batch:
        moved = batch.to(self.device)
        return Batch(moved.x.to(self.dtype), moved.frames, moved.label, moved.index)


class PlainData:
    """What naive baselines have in common: clips padded one by one, an optimiser as torch has it by default."""

    name = "straightforward"
    plain_optimiser = True

    def gather(self: Any, rows: Any) -> Batch:
        batch: Batch = self.on_device(padded(self.store, rows))
        return batch


def method_of(config: dict[str, Any]) -> Method:
    """Its weights drawn from the configuration's seed."""
    return build_method(config)
