"""Peak memory: of a process of its own, and of a piece of work by torch's own allocator."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Bytes that a process holds above those it held when this began: what torch allocates on a GPU, else all of it."""

    def __init__(self, device: str) -> None:
        self.device = device
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
            self.base = torch.cuda.memory_allocated()
            return
        if CLEAR.exists():
            CLEAR.write_text("5")  # Linux forgets the largest size so far
        self.base = _status("VmRSS")

    def above(self) -> int:
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated() - self.base
        return max(_status("VmHWM") - self.base, 0)


def _status(key: str) -> int:
    """A line of Linux's account of this process; elsewhere the largest size so far stands for both."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


@contextmanager
def allocated(device: str = "cpu") -> Iterator[list[int]]:
    """Appends, at the end, the most bytes that torch's allocator of ``device`` held at once above the beginning."""
    found: list[int] = []
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as account:
        yield found
    kind = device.split(":")[0].upper()
    events = [e for e in account.profiler.kineto_results.events() if e.name() == "[memory]"]
    events = [e for e in events if e.device_type().name == kind]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    found.append(max(accumulate(sizes), default=0))


def in_child(work: Callable[..., Any], *arguments: Any) -> Any:
    """``work(*arguments)`` in a fresh process; its exception is raised here, a RuntimeError if it ends without one."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_child, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        done, result = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{work.__name__}: the process ended with exit code {process.exitcode}") from None
    process.join()
    if not done:
        raise result
    return result


def _child(pipe: Any, work: Callable[..., Any], arguments: Any) -> None:
    sys.stdout = sys.stderr  # standard output carries the table alone
    try:
        pipe.send((True, work(*arguments)))
    except Exception as error:  # said by the parent
        pipe.send((False, error))
