"""What a part of a step asks of the machine, and what the machine can give: products, traffic, calls."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.tape import Watch, tensors


def recurrence(x: Any, weights: Any, *_: Any, **__: Any) -> int:
    """Products of cuDNN's recurrent layers on ``x`` (T, N, F): each matrix of ``weights`` (shapes) meets every row."""
    return 2 * math.prod(x[:2]) * sum(math.prod(shape) for shape in weights if len(shape) == 2)


# Torch counts the attention of GPUs only, and no recurrence.
UNCOUNTED = {
    torch.ops.aten._cudnn_rnn: recurrence,
    torch.ops.aten._cudnn_rnn_backward: lambda x, weights, *_, **__: 2 * recurrence(x, weights),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


FREE = ("detach", "empty")  # in the names of operations that move no bytes


@dataclass
class Asked:
    """Of one part and pass."""

    flops: float = 0  # of products, convolutions and attentions, two for a multiply and add
    bytes: float = 0  # read and written by all operations, as if nothing stayed in a cache between two of them
    calls: int = 0  # operations


class Traffic(TorchDispatchMode):
    """Adds up what operations read and write; those that only look at a tensor or hand out memory count for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.calls = 0.0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        looks = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not looks and not any(free in func._schema.name for free in FREE):
            touched = {id(t): t for t in tensors((args, kwargs, result))}
            self.bytes += sum(t.numel() * t.element_size() for t in touched.values())
            self.calls += 1
        return result


def counter(asked: dict[tuple[str, str], Asked]) -> Watch:
    """Adds to each part and pass what it asks."""

    @contextmanager
    def watch(name: str, way: str) -> Iterator[None]:
        with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as products, Traffic() as traffic:
            yield
        found = asked[name, way]
        found.flops += products.get_total_flops()
        found.bytes += traffic.bytes
        found.calls += traffic.calls

    return watch


def stopwatch(seconds: dict[tuple[str, str], float], wait: Callable[[], None]) -> Watch:
    """Adds each part's seconds; ``wait`` returns when the device has done what it was told."""

    @contextmanager
    def watch(name: str, way: str) -> Iterator[None]:
        wait()
        start = time.perf_counter()
        yield
        wait()
        seconds[name, way] += time.perf_counter() - start

    return watch


def waiter(device: str) -> Callable[[], None]:
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def rates(device: str, small: bool = False) -> dict[str, float]:
    """What this machine reaches with the threads that torch has now.

    ``flops``: operations a second in float32 products of square matrices; ``bytes``: read and written a second by a
    copy far larger than any cache; ``calls``: seconds of an operation on one number, called from Python.
    """
    size, length = (128, 2**16) if small else (2048, 2**26)
    a, x, one = (torch.randn(shape, device=device) for shape in ((size, size), (length,), (1,)))
    y = torch.empty_like(x)
    product, copy = best(lambda: a @ a, device), best(lambda: y.copy_(x), device)
    calls = best(lambda: [one + 1 for _ in range(1000)], device) / 1000
    return {"flops": 2 * size**3 / product, "bytes": 2 * x.numel() * x.element_size() / copy, "calls": calls}


def best(work: Callable[[], Any], device: str, rounds: int = 8) -> float:
    """Seconds of the fastest of some calls."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for n in range(rounds):
        with stopwatch(found, waiter(device))("", str(n)):
            work()
    return min(found.values())
