"""Every method's training step, ours against the naive baseline: ``python -m benchmarks``, or ``make bench``.

Both forms start from equal weights, each in a separate process; that they compute the same is asserted first, in
float64. Peak memory is measured in a separate process for each form. Prints Markdown tables; ``--out`` writes JSON.
docs/speed.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import linear_eval, pipeline
from benchmarks.counts import rates
from benchmarks.machine import about
from benchmarks.memory import in_child
from benchmarks.suite import METHODS, Disagreement, Options, measure
from benchmarks.tables import markdown
from skelssl.runtime.memory import keep_pages

MORE = ("data", "linear")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join((*METHODS, *MORE)), help="what to measure, with commas between")
    parser.add_argument("--batch", type=int, help="clips of a step; by default each method's own, see docs/speed.md")
    parser.add_argument("--rounds", type=int, default=3, help="how often a step of each form is timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--device", default="cpu", help="cpu or cuda; where there is no such device, nothing is measured"
    )
    parser.add_argument("--small", action="store_true", help="tiny networks in this process: whether it runs")
    parser.add_argument("--compile", action="store_true", help="also under torch.compile; that takes minutes")
    parser.add_argument("--no-memory", action="store_true", help="without the processes that measure peak memory")
    parser.add_argument("--keep-memory", action="store_true", help="the naive baseline keeps freed memory too")
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args(given)
    options.only = options.only.split(",")
    if unknown := [name for name in options.only if name not in (*METHODS, *MORE)]:
        parser.error(f"--only: found {unknown[0]!r}, expected some of {', '.join((*METHODS, *MORE))}")
    for key in ("rounds", "threads", "batch"):
        if (value := getattr(options, key)) is not None and value < 1:
            parser.error(f"--{key}: found {value}, expected at least 1")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures what is asked; says on standard error what it is at."""
    torch.set_num_threads(options.threads)
    if not options.small:
        keep_pages()
    how = Options(
        batch=options.batch, rounds=options.rounds, threads=options.threads, device=options.device,
        small=options.small, compile=options.compile, memory=not options.no_memory,
        keep_memory=options.keep_memory,
    )  # fmt: skip
    found: dict[str, Any] = {"about": about(options.device, options.threads, options.small), "methods": {}}
    for name in options.only:
        if name in MORE and options.device.startswith("cuda"):
            print(f"{name}: measured on the CPU alone, left out", file=sys.stderr, flush=True)
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        if name == "linear":
            found["linear"] = linear_eval.measure(how)
        elif name == "data":
            found["data"] = pipeline.measure(how)
        else:
            # Each in a process of its own, which begins with nothing of the method before.
            found["methods"][name] = measure(name, how) if how.small else in_child(measure, name, how)
        again = rates(options.device, options.small)  # whatever disturbed the machine before
        for what, better in (("flops", max), ("bytes", max), ("calls", min)):
            found["about"]["rates"][what] = better(found["about"]["rates"][what], again[what])
        if options.out is not None:  # what is measured stays, whatever comes
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 where two forms disagree."""
    options = arguments(given)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"--device {options.device}: there is no such device here, nothing was measured")
        return 0
    try:
        print(markdown(run(options)))
    except Disagreement as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
