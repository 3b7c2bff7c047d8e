"""The sequence encoder, whole sequences against frame by frame: ``python -m benchmarks.gru_step``.

Both start from equal weights and read equal clips, in turn and in one process. What is saved are calls and the adding
up of weight gradients. On a CPU that shows in a narrow encoder; at the paper's size (``--batch 64 --hidden 1024``) the
products themselves, which both forms share, take most of the time.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.naive.gru_frames import FrameByFrame
from skelssl.encoders.gru import GRU, from_reference


def encoders(hidden: int) -> tuple[FrameByFrame, GRU]:
    """Frame by frame and ours, with the same weights, drawn as ours are."""
    torch.manual_seed(0)
    naive, ours = FrameByFrame(hidden), GRU(hidden=hidden)
    with torch.no_grad():
        for parameter in naive.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
    ours.load_state_dict(from_reference(naive.state_dict()))
    return naive, ours


def difference(pair: Sequence[nn.Module], x: Tensor) -> float:
    """Largest absolute difference of the two features, computed as for learning."""
    naive, ours = (encoder(x).detach() for encoder in pair)
    return float((naive - ours).abs().max())


def encode(encoder: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        encoder(x)


def learn(encoder: nn.Module, x: Tensor) -> None:
    encoder.zero_grad()
    encoder(x).square().sum().backward()


def measure(act: Callable[[nn.Module, Tensor], None], pair: Sequence[nn.Module], x: Tensor, steps: int) -> list[float]:
    """Median seconds of each; they take turns, and the first turn warms up."""
    seconds: list[list[float]] = [[] for _ in pair]
    for _ in range(steps + 1):
        for encoder, taken in zip(pair, seconds, strict=True):
            start = time.perf_counter()
            act(encoder, x)
            if x.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]


def run(batch: int, hidden: int, frames: int, steps: int, threads: int, device: str) -> dict[str, Any]:
    """Every figure of the benchmark, ready for JSON."""
    torch.set_num_threads(threads)
    pair = [encoder.to(device) for encoder in encoders(hidden)]
    x = torch.randn(batch, 3, frames, 25, 2).to(device)
    return {
        "batch": batch, "hidden": hidden, "frames": frames, "steps": steps, "threads": threads,
        "device": device, "torch": torch.__version__, "machine": platform.machine(), "difference": difference(pair, x),
        "seconds": {
            "forward": measure(encode, pair, x, steps),
            "forward and backward": measure(learn, pair, x, steps),
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = vars(parser.parse_args())
    target = arguments.pop("json")
    result = run(**arguments)
    print(f"{'part':<26}{'frame by frame':>18}{'ours':>10}{'ratio':>8}")
    for part, (naive, ours) in result["seconds"].items():
        print(f"{part:<26}{naive:>16.3f} s{ours:>8.3f} s{naive / ours:>7.2f}x")
    print(f"largest difference of the features: {result['difference']:.1e}")
    if target is not None:
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
