"""Gradients of ST-GCN's convolution weights, torch's own against products: ``python -m benchmarks.convolutions``.

Every wide convolution of PSTL's encoder, by default at 128 clips of 50 frames: the convolution itself, and the gradient
of its weight in both forms, in turn, medians. Equal gradients are asserted first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from benchmarks.pipeline import timed
from benchmarks.tables import short, table
from skelssl.encoders.convolution import of_weight
from skelssl.runtime.memory import keep_pages

JOINTS = 25


class Shape(NamedTuple):
    """A convolution over ``height`` rows of ``width`` neighbours."""

    name: str
    into: int
    out: int
    height: int
    width: int
    taps: int
    stride: int = 1
    padding: int = 0


def shapes(clips: int, frames: int) -> list[Shape]:
    """Of graph convolutions (taps are partitions) and temporal ones, the narrowest left out."""
    half, quarter, bodies = -(-frames // 2), -(-frames // 4), 2 * clips
    return [
        Shape("graph, block 5", 16, 32, 3, frames * bodies, 3),
        Shape("graph, block 6", 32, 32, 3, half * bodies, 3),
        Shape("graph, block 8", 32, 64, 3, half * bodies, 3),
        Shape("graph, block 9", 64, 64, 3, quarter * bodies, 3),
        Shape("graph, block 10", 64, 256, 3, quarter * bodies, 3),
        Shape("temporal, block 5", 32, 32, frames, bodies, 9, 2, 4),
        Shape("temporal, block 6", 32, 32, half, bodies, 9, 1, 4),
        Shape("temporal, block 8", 64, 64, half, bodies, 9, 2, 4),
        Shape("temporal, block 9", 64, 64, quarter, bodies, 9, 1, 4),
        Shape("temporal, block 10", 256, 256, quarter, bodies, 9, 1, 4),
        Shape("shortcut, block 10", 64, 256, quarter, bodies, 1),
    ]


def measure(shape: Shape, rounds: int) -> list[str]:
    """A row of the table."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(JOINTS, shape.height, shape.width, shape.into, generator=draw).permute(0, 3, 1, 2)
    weight = torch.randn(shape.out, shape.into, shape.taps, 1, generator=draw)
    how = (shape.stride, 1), (shape.padding, 0)
    grad = torch.randn(conv2d(x, weight, None, *how).shape, generator=draw).contiguous(
        memory_format=torch.channels_last
    )

    def torchs() -> Tensor:
        mask = (False, True, False)
        found = torch.ops.aten.convolution_backward(grad, x, weight, None, *how, (1, 1), False, (0, 0), 1, mask)
        gradient: Tensor = found[1]
        return gradient

    work: dict[str, Callable[[], Any]] = {
        "convolution": lambda: conv2d(x, weight, None, *how),
        "torch": torchs,
        "products": lambda: of_weight(grad, x, weight, shape.stride, shape.padding),
    }
    torch.testing.assert_close(work["products"](), work["torch"](), rtol=1e-3, atol=1e-3 * float(torchs().abs().max()))
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, do in work.items():
            taken[name].append(timed(do))
    seconds = {name: statistics.median(own[1:]) for name, own in taken.items()}
    widths = f"{shape.into} to {shape.out}, {shape.taps} taps"
    return [shape.name, widths, *map(short, seconds.values()), f"{seconds['torch'] / seconds['products']:.2f}x"]


def main(given: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args(given)
    torch.set_num_threads(chosen.threads)
    keep_pages()
    head = ["convolution", "channels", "forward", "gradient of the weight, torch's", "as products", "ratio"]
    print(table(head, [measure(shape, chosen.rounds) for shape in shapes(chosen.clips, chosen.frames)], left=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
