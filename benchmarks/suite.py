"""Measures one method: that both forms agree, then the seconds of each, what they ask for, and their memory."""

from __future__ import annotations

import copy
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor.config
from torch import nn
from torch.autograd import DeviceType

from benchmarks.counts import Asked, counter, stopwatch, waiter
from benchmarks.forms import Form, configuration, make_store, method_of
from benchmarks.memory import Peak, allocated, in_child
from benchmarks.tape import BACKWARD, FORWARD, Tape, Watch, every, plain
from skelssl.methods.base import Method
from skelssl.runtime.compile import compile_parts
from skelssl.runtime.devices import matmul_precision
from skelssl.runtime.memory import keep_pages

METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm")
FORMS = ("straightforward", "ours")
SMALL_BATCH = 4
CHECKED = 2  # clips on which both forms are compared, in float64
Spread = dict[str, float]  # min, quartiles, max, of so many


class Disagreement(Exception):
    """Both forms of a method do not compute the same."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure."""

    batch: int | None = None  # None: the case's own
    rounds: int = 3
    threads: int = 1
    device: str = "cpu"
    small: bool = False
    compile: bool = False
    memory: bool = True
    keep_memory: bool = False  # the naive baseline keeps freed memory too
    overrides: tuple[str, ...] = ()


class Case:
    """A method with its clips and both of its forms, which start from equal weights."""

    def __init__(self, name: str, options: Options, folder: Path) -> None:
        module: Any = import_module(f"benchmarks.cases.{name}")
        self.name, self.options = name, options
        self.makers: dict[str, type[Form]] = {form.name: form for form in (module.Straightforward, module.Ours)}
        self.config = configuration(name, options.overrides, small=options.small)
        self.batch: int = options.batch or (SMALL_BATCH if options.small else module.BATCH)
        self.store = make_store(self.config, folder, max(self.batch, CHECKED))
        self.rows = np.random.default_rng(1).permutation(len(self.store))[: self.batch]

    def form(self, name: str, method: Method | None = None) -> Form:
        """The form called ``name`` on its own copy of ``method``, by default a new one, on the device."""
        own = method_of(self.config) if method is None else copy.deepcopy(method)
        return self.makers[name](own.to(self.options.device).train(), self.store, device=self.options.device)

    def step(self, form: Form, watch: Watch) -> float:
        """A training step under ``watch``; every step has the same draws."""
        tape = Tape(watch)

        def backward(loss: torch.Tensor) -> None:
            tape.backward()

        return form.step(tape, backward, self.rows, torch.Generator().manual_seed(0))


def measure(name: str, options: Options) -> dict[str, Any]:
    """Everything about one method, ready for JSON. Each form is timed in a separate process."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        case = Case(name, options, Path(folder))
        found: dict[str, Any] = {"method": name, "batch": case.batch, "agreement": check_agreement(case)}
        if options.memory:
            found["memory"] = {form: in_child(peak, name, form, options) for form in FORMS}
        alone = (lambda work, *given: work(*given)) if options.small else in_child
        for form in FORMS:
            for key, value in alone(timed, name, form, options).items():
                found.setdefault(key, {})[form] = value
        if options.compile:
            found["compiled"] = compared({form: alone(compiled, name, form, options) for form in FORMS}, name)
    return found


@contextmanager
def as_training(name: str, form: str, options: Options) -> Iterator[Case]:
    """The case of ``name`` under the settings that training has, for one of its forms.

    Ours keeps freed memory, as training does. The naive baseline has the C library's usual way with it, unless
    ``keep_memory`` gives it ours.
    """
    torch.set_num_threads(options.threads)
    if not options.small and (form == "ours" or options.keep_memory):
        keep_pages()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, matmul_precision("highest"):
        yield Case(name, options, Path(folder))


@contextmanager
def ready(name: str, form: str, options: Options) -> Iterator[tuple[Case, Form]]:
    """The case and that form of it, which has made its optimiser's state."""
    with as_training(name, form, options) as case:
        own = case.form(form)
        own.begin()
        yield case, own


def timed(name: str, form: str, options: Options) -> dict[str, Any]:
    """``seconds`` of one form's step, ``parts`` (part -> pass -> what it asks and its median seconds) and the longest
    ``operations`` of a step.
    """
    with ready(name, form, options) as (case, own):
        asked = ask(case, own)
        seconds = in_turn(case, own, options.rounds)
        longest = operations(case, own) if form == "ours" else []
    parts = {
        part: {way: {**asdict(asked[part, way]), "seconds": of[way]["median"]} for way in of}
        for part, of in seconds["parts"].items()
    }
    return {"seconds": seconds, "parts": parts, "operations": longest}


def compiled(name: str, form: str, options: Options) -> dict[str, Any]:
    """Seconds of a form's first step, which compiles its parts, its loss, and the seconds of later steps.

    Ours is compiled as training does it, the naive baseline part by part. Dropout is off, so that the losses of
    both can be compared.
    """
    with ready(name, form, options) as (case, own):
        without_dropout(own.method)
        if form == "ours":
            compile_parts(own.method.compiled())
        else:
            own.compiled = {}
        start = time.perf_counter()
        # Where inductor puts its narrow convolutions into channels-last memory, torch writes out of bounds (2.13, CPU).
        with torch._inductor.config.patch(layout_optimization=form == "ours"):
            loss = case.step(own, every())
        first = time.perf_counter() - start
        return {"loss": loss, "first_step": first, "seconds": in_turn(case, own, options.rounds)}


def compared(found: dict[str, dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """``found`` of the compiled forms; raises Disagreement where their losses differ."""
    naive, ours = (found[form]["loss"] for form in FORMS)
    if not abs(naive - ours) <= 1e-3 * abs(naive):
        raise Disagreement(f"{name}: the compiled losses are {naive} and {ours}, expected equal ones")
    return found


def without_dropout(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0


def check_agreement(case: Case) -> dict[str, float]:
    """Loss, gradients and what a step leaves behind (averages, queues, statistics), on a few clips in float64.

    Dropout is off, since the two forms draw its masks in different orders, and the averages have other weights than
    what they average. Raises Disagreement.
    """
    start = method_of(case.config).double()
    draw = torch.Generator().manual_seed(1)
    without_dropout(start)
    with torch.no_grad():
        for parameter in (p for p in start.parameters() if p.requires_grad):
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype).to(parameter))
    results = {}
    for name in FORMS:
        form = case.form(name, start)
        loss = form.loss(plain, case.rows[:CHECKED], torch.Generator().manual_seed(0))
        loss.backward()  # type: ignore[no-untyped-call]
        form.follow(plain)
        named = form.method.named_parameters()
        gradients = {n: p.grad for n, p in named if p.requires_grad and p.grad is not None}
        state = {n: t for n, t in form.method.state_dict().items() if n not in gradients}
        state = {n: t for n, t in state.items() if not n.startswith(form.may_differ)}
        results[name] = {"loss": {"": loss.detach()}, "gradients": gradients, "state": state}
    return {what: apart(case.name, what, *(results[name][what] for name in FORMS)) for what in results["ours"]}


def apart(case: str, what: str, one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference over the largest entry of its tensor; raises Disagreement above 1e-8."""
    if one.keys() != other.keys():
        raise Disagreement(f"{case}: {what} of {sorted(one.keys() ^ other.keys())} in one form alone")
    largest = max((float(one[n].double().abs().max()) for n in one), default=0.0)
    worst = 0.0
    for name in one:
        a, b = one[name].double(), other[name].double()
        # A gradient that is zero but for rounding (a bias before a batch norm) is as large as its neighbours' rounding.
        scale = (
            max(float(a.abs().max()), 1e-3 * largest, 1e-12)
            if what == "gradients"
            else max(float(a.abs().max()), 1e-12)
        )
        difference = float((a - b).abs().max()) / scale
        if not difference <= 1e-8:
            raise Disagreement(f"{case}: {what} {name} differ by {difference:.1e} of their size, expected at most 1e-8")
        worst = max(worst, difference)
    return worst


def ask(case: Case, form: Form) -> dict[tuple[str, str], Asked]:
    """What each part asks, in a step that warms up as well."""
    asked: dict[tuple[str, str], Asked] = defaultdict(Asked)
    case.step(form, counter(asked))
    return asked


def in_turn(case: Case, form: Form, rounds: int) -> dict[str, Any]:
    """Seconds of the whole step and of each part and pass, ``rounds`` times; the form has warmed up."""
    taken: list[tuple[float, dict[tuple[str, str], float]]] = []
    wait = waiter(case.options.device)
    # A part is timed by waiting for the device, which costs time itself: there the whole step has one of its own.
    apart = case.options.device.startswith("cuda")
    for _ in range(rounds):
        own: dict[tuple[str, str], float] = defaultdict(float)
        parts = stopwatch(own, wait)
        if apart:
            case.step(form, parts)
        wait()
        start = time.perf_counter()
        case.step(form, every() if apart else parts)
        wait()
        taken.append((time.perf_counter() - start, own))
    return seconds_of(taken)


def seconds_of(steps: Sequence[tuple[float, dict[tuple[str, str], float]]]) -> dict[str, Any]:
    parts: dict[str, dict[str, Spread]] = {}
    for name, way in steps[0][1]:
        parts.setdefault(name, {})[way] = spread([own[name, way] for _, own in steps])
    return {"step": spread([whole for whole, _ in steps]), "parts": parts}


def spread(values: Sequence[float]) -> Spread:
    """Smallest, quartiles and largest of ``values``."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {"min": min(values), "q1": float(low), "median": float(middle), "q3": float(high), "max": max(values),
            "rounds": len(values)}  # fmt: skip


def peak(name: str, form: str, options: Options) -> dict[str, int]:
    """Run in a separate process: most bytes of a step, weights and optimiser included, and of its loss alone.

    The naive baseline never keeps freed memory here: it would not give back what is past.
    """
    with as_training(name, form, replace(options, keep_memory=False)) as case:
        warm_up(options.device)
        memory = Peak(options.device)
        watch, loss = around("loss", options.device)
        own = case.form(form)
        own.begin()
        case.step(own, watch)
        return {"step": memory.above(), "loss": loss[0][0]}


def around(part: str, device: str) -> tuple[Watch, list[list[int]]]:
    """A watch that adds the most bytes held from the beginning of the last ``part`` of a step to its backward pass."""
    account, found = ExitStack(), list[list[int]]()

    @contextmanager
    def watch(name: str, way: str) -> Iterator[None]:
        if (name, way) == (part, FORWARD):
            found.append(account.enter_context(allocated(device)))
        yield
        if (name, way) == (part, BACKWARD):
            account.close()

    return watch, found


def warm_up(device: str) -> None:
    """What torch loads and keeps once is no part of a step's memory."""
    x = torch.randn(64, 64, requires_grad=True, device=device)
    (x @ x).sum().backward()  # type: ignore[no-untyped-call]


def operations(case: Case, form: Form, longest: int = 8) -> list[dict[str, Any]]:
    """Of a step of a form that has warmed up: operations, on a GPU kernels, that take longest, the others not counted.

    Share of the time that all take, seconds, and how often they ran.
    """
    from torch.profiler import ProfilerActivity, profile

    gpu = case.options.device.startswith("cuda")
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as account:
        case.step(form, every())
        waiter(case.options.device)()
    if gpu:
        chosen = [e for e in account.key_averages() if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
        times = [(e.self_device_time_total, e) for e in chosen]
    else:
        times = [(e.self_cpu_time_total, e) for e in account.key_averages() if not e.is_user_annotation]
    whole = sum(us for us, _ in times)
    times.sort(key=lambda pair: -pair[0])
    return [
        {"name": e.key.removeprefix("aten::"), "share": us / whole, "seconds": us / 1e6, "calls": e.count}
        for us, e in times[:longest]
        if us > 0
    ]
