"""Where the time of one step goes: seconds and FLOPs of its named parts, and what a matrix product here allows."""

from __future__ import annotations

import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Part = Callable[[str], AbstractContextManager[None]]  # ``with part("decoder"):`` around what belongs to the decoder

# Torch counts the attention of GPUs only.
ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


def stopwatch(seconds: dict[str, float]) -> Part:
    """Adds each part's seconds."""

    @contextmanager
    def part(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] += time.perf_counter() - start

    return part


def counter(flops: dict[str, float]) -> Part:
    """Adds the floating-point operations of each part's products and attentions, two for a multiply and add."""

    @contextmanager
    def part(name: str) -> Iterator[None]:
        with FlopCounterMode(display=False, custom_mapping=ON_CPU) as found:
            yield
        flops[name] += found.get_total_flops()

    return part


def cut(x: Tensor) -> Tensor:
    """``x`` as a leaf: the backward pass stops here, and can be gone on with from its gradient."""
    return x.detach().requires_grad_()


def backward(part: Part, loss: Tensor, *stages: tuple[str, Tensor, Tensor]) -> None:
    """The backward pass of a chain cut at its stages (name, output, output's `cut`), the last one first."""
    with part("loss"):
        loss.backward()  # type: ignore[no-untyped-call]
    for name, output, leaf in stages:
        with part(name):
            output.backward(leaf.grad)  # type: ignore[no-untyped-call]


def matmul_rate(size: int = 2048, rounds: int = 8) -> float:
    """FLOP/s of the best of some float32 products of ``size`` x ``size`` matrices, with the threads torch has now."""
    a = torch.randn(size, size)
    best = min(_seconds(lambda: a @ a) for _ in range(rounds))
    return 2 * size**3 / best


def study(step: Callable[[Part], None], steps: int) -> dict[str, Any]:
    """A warm-up step that is counted, then ``steps`` timed ones: medians of the parts, ready for JSON."""
    flops: dict[str, float] = defaultdict(float)
    step(counter(flops))
    taken: list[dict[str, float]] = []
    whole = []
    for _ in range(steps):
        taken.append(defaultdict(float))
        whole.append(_seconds(lambda: step(stopwatch(taken[-1]))))
    return {
        "step_seconds": statistics.median(whole),
        "parts": {
            name: {"seconds": statistics.median(one[name] for one in taken), "flops": flops[name]} for name in taken[0]
        },
        "flops_per_second_of_a_product": matmul_rate(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def show(result: dict[str, Any]) -> None:
    """Prints a `study`: of each part the seconds, their share, the FLOPs, and what share of the time these need."""
    whole, rate = result["step_seconds"], result["flops_per_second_of_a_product"]
    print(f"{'part':<26}{'seconds':>9}{'share':>8}{'GFLOP':>11}{'bound by products':>20}")
    parts = [(name, part["seconds"], part["flops"]) for name, part in result["parts"].items()]
    for name, seconds, flops in [*parts, ("whole step", whole, sum(flops for *_, flops in parts))]:
        print(f"{name:<26}{seconds:>9.3f}{seconds / whole:>8.1%}{flops / 1e9:>11.1f}{flops / rate / seconds:>20.1%}")
    print(f"{result['batch']} clips a step, {result['peak_memory_mb'] / 1024:.2f} GiB at the peak, ", end="")
    print(f"{rate / 1e9:.1f} GFLOP/s in a square product, {result['threads']} threads")


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
