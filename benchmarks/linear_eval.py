"""Linear evaluation, features cached against encoded in every epoch: ``python -m benchmarks.linear_eval``.

Both forms run PSTL's recipe on PSTL's encoder, in one process, on equal clips in equal order. The logits after the last
epoch and the best top-1 must be the same, bit for bit. Batches divide the clips, since a convolution may round its last
bits by the size of its batch.
"""

from __future__ import annotations

import platform
import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.command import compare, sizes
from benchmarks.naive.linear_eval import Evaluated, linear_evaluation
from skelssl.data.batch import Batch
from skelssl.encoders.stgcn import STGCN
from skelssl.protocols.features import Features, extract
from skelssl.protocols.linear import linear_probe
from skelssl.protocols.scores import Scores

CLASSES, LR, SEED = 60, 0.01, 0


class Whole(nn.Module):
    """PSTL's test view: the clip as it is."""

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return batch.x


def make_clips(count: int, frames: int, seed: int) -> Batch:
    """Smooth random motion whose size follows from the class; the second person is absent in half of the clips."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CLASSES, (count,), generator=g)
    x = torch.randn(count, 3, frames, 25, 2, generator=g).cumsum(2) * (1 + label.view(-1, 1, 1, 1, 1)) / 100
    x[::2, ..., 1] = 0
    return Batch(x, torch.full((count,), frames), label, torch.arange(count))


def cached(encoder: nn.Module, train: Batch, test: Batch, batch: int, epochs: int) -> Scores:
    """As ``protocol=linear`` runs it."""

    def features(clips: Batch) -> Features:
        rows = torch.arange(len(clips)).split(batch)
        parts = (Batch(clips.x[r], clips.frames[r], clips.label[r], clips.index[r]) for r in rows)
        return extract(encoder, Whole(), parts, device="cpu")

    recipe = {"optimizer": "adam", "lr": LR, "epochs": epochs, "batch": batch, "schedule": "cosine"}
    return linear_probe(features(train), features(test), classes=CLASSES, recipe=recipe, seed=SEED)


def run(clips: int, test_clips: int, epochs: int, batch: int, hidden: int, frames: int, threads: int) -> dict[str, Any]:
    """Every figure of the benchmark, ready for JSON."""
    if clips % batch or test_clips % batch:
        raise SystemExit(f"--batch: found {batch}, expected a divisor of {clips} and {test_clips} clips")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = STGCN(hidden=hidden).eval()
    train, test = make_clips(clips, frames, 1), make_clips(test_clips, frames, 2)
    start = time.perf_counter()
    ours = cached(encoder, train, test, batch, epochs)
    middle = time.perf_counter()
    naive = linear_evaluation(
        encoder, train.x, train.label, test.x, test.label,
        classes=CLASSES, batch=batch, epochs=epochs, lr=LR, seed=SEED, threads=threads,
    )  # fmt: skip
    end = time.perf_counter()
    check_agreement(ours, naive)
    return {
        "clips": clips, "test_clips": test_clips, "epochs": epochs, "batch": batch, "hidden": hidden, "frames": frames,
        "threads": threads, "torch": torch.__version__, "machine": platform.machine(), "top1": ours.top1,
        "logits_sum": float(ours.logits.double().sum()),
        "seconds": {f"{epochs} epochs": (end - middle, middle - start)},
    }  # fmt: skip


def check_agreement(ours: Scores, naive: Evaluated) -> None:
    """The last epoch's logits and the best top-1, bit for bit."""
    if not torch.equal(ours.logits, naive.logits) or ours.best_epoch_top1 != naive.best:
        raise SystemExit(f"the forms differ by up to {(ours.logits - naive.logits).abs().max()} in their logits")


def main() -> None:
    default = {"clips": 64, "test_clips": 32, "epochs": 100, "batch": 32, "hidden": 16, "frames": 50}
    compare(run, sizes(str(__doc__), **default), repeats=False)


if __name__ == "__main__":
    main()
