"""What each paper's full pre-training takes, computed from counted operations: ``python -m benchmarks.full_runs``.

One training step of every published configuration is counted with ``--clips`` clips, twice and three times as many,
forward and backward: 2 operations per multiply-add of products, convolutions and attentions. A step grows with its
clips and, where clips are compared, with their pairs, so three counts tell that of the published batch. Element-wise
work, optimiser, reading, monitors and communication are left out, so the times are lower bounds; the rate that a GPU
sustains is an assumption, ``--tflops``. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from numpy.polynomial import Polynomial
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.counts import UNCOUNTED
from skelssl.core.compose import composed, resolved
from skelssl.data.batch import Batch
from skelssl.methods.build import build_method
from skelssl.optim import Optim
from skelssl.results.published import split_clips

METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm")
DATASETS = ("ntu60_xsub", "ntu120_xsub")
FRAMES = {"aimclr": 50}  # to which a recipe resamples; other recipes leave clips ragged, and views set their length
RAGGED = 120
GPUS = (1, 8, 64)
NO_WORK = ("optim", "recipe", "probe", "monitor", "loader")  # blocks that do not change what a clip costs


class Run(NamedTuple):
    """One published pre-training."""

    method: str
    dataset: str
    epochs: int
    batch: int
    steps: int
    step_tflop: float  # of a whole batch
    pflop: float  # of the whole run

    def hours(self, tflops: float, gpus: int) -> float:
        """At ``tflops`` sustained by each GPU, all of them busy all the time."""
        return self.pflop * 1e3 / tflops / gpus / 3600


def published_run(method: str, dataset: str, clips: int, counted: dict[str, Polynomial]) -> Run:
    """``method=M dataset=D`` as it is shipped; ``counted`` remembers what equal steps take, over their clips."""
    config = resolved(composed("train", [f"method={method}", f"dataset={dataset}"]))
    work = json.dumps({k: v for k, v in config["method"].items() if k not in NO_WORK}, sort_keys=True)
    if work not in counted:
        counted[work] = step_operations(config, clips)
    of_step, batch = counted[work], config["method"]["loader"]["batch"]
    epochs = Optim.parse(config["method"]["optim"]).last_epoch
    whole, rest = divmod(split_clips(dataset)[0], batch)
    if config["method"]["loader"]["drop_last"]:
        rest = 0
    epoch = whole * of_step(batch) + (of_step(rest) if rest else 0.0)
    return Run(
        method, dataset, epochs, batch, epochs * (whole + bool(rest)), of_step(batch) / 1e12, epochs * epoch / 1e15
    )


def step_operations(config: Mapping[str, Any], clips: int) -> Polynomial:
    """Operations of one training step over its number of clips, of second degree."""
    sizes = [clips, 2 * clips, 3 * clips]
    return Polynomial.fit(sizes, [operations(config, n) for n in sizes], 2)


def operations(config: Mapping[str, Any], clips: int) -> float:
    """Of one training step of ``clips`` clips of noise, both persons present, forward and backward."""
    method = build_method(config)
    method._step = 0
    frames = FRAMES.get(config["method"]["recipe"]["name"], RAGGED)
    x = torch.randn(clips, 3, frames, 25, 2, generator=torch.Generator().manual_seed(0))
    batch = Batch(x, torch.full((clips,), frames), torch.zeros(clips, dtype=torch.long), torch.arange(clips))
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        cast(torch.Tensor, method.training_step(batch, 0)).backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops())


def table(runs: Sequence[Run], tflops: float) -> str:
    """A pipe table, hours by the number of GPUs."""
    head = ["method", "dataset", "epochs", "batch", "steps", "TFLOP a step", "PFLOP a run"]
    lines = [[*head, *(f"{n} GPU{'s' * (n > 1)}" for n in GPUS)], ["---"] * 2 + ["--:"] * (len(head) + len(GPUS) - 2)]
    for run in runs:
        counts = [run.method, run.dataset, run.epochs, run.batch, f"{run.steps:,}", f"{run.step_tflop:.2f}"]
        hours = [f"{run.hours(tflops, n):.2g} h" for n in GPUS]
        lines.append([*map(str, counts), f"{run.pflop:,.0f}", *hours])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Counts, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=10.0, help="10^12 operations a second that a GPU sustains")
    parser.add_argument("--clips", type=int, default=2, help="of the smallest of the three steps that are counted")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--datasets", nargs="+", default=DATASETS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    counted: dict[str, Polynomial] = {}
    runs = [published_run(m, d, options.clips, counted) for m in options.methods for d in options.datasets]
    print(table(runs, options.tflops))
    if options.json is not None:
        options.json.write_text(json.dumps([run._asdict() for run in runs], indent=2) + "\n")


if __name__ == "__main__":
    main()
