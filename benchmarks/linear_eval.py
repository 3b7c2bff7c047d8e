"""Linear evaluation over its full schedule: features cached against clips encoded in every epoch.

Both forms run PSTL's recipe on PSTL's encoder, in one process, on equal clips in equal order. The naive baseline
takes minutes, so it runs a few epochs and an epoch stands for all. Over those few epochs, as a schedule of their own,
the logits and the best top-1 of both must be the same, bit for bit. Batches divide the clips, since a convolution
may round its last bits by the size of its batch.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.naive.linear_eval import Evaluated, linear_evaluation
from benchmarks.suite import Disagreement, Options
from skelssl.data.batch import Batch
from skelssl.encoders.stgcn import STGCN
from skelssl.pretrained.features import Features, extract
from skelssl.protocols.linear import linear_probe
from skelssl.results.scores import Scores

CLASSES, LR, SEED = 60, 0.01, 0
FULL = {"clips": 512, "test_clips": 256, "epochs": 150, "straightforward_epochs": 2, "batch": 128, "hidden": 16,
        "frames": 50}  # fmt: skip
SMALL = {"clips": 8, "test_clips": 4, "epochs": 6, "straightforward_epochs": 2, "batch": 4, "hidden": 4, "frames": 6}


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


def features(encoder: nn.Module, clips: Batch, batch: int) -> Features:
    """As ``protocol=linear`` encodes a dataset, once."""
    rows = torch.arange(len(clips)).split(batch)
    parts = (Batch(clips.x[r], clips.frames[r], clips.label[r], clips.index[r]) for r in rows)
    return extract(encoder, Whole(), parts, device="cpu")


def probe(train: Features, test: Features, batch: int, epochs: int) -> Scores:
    """As ``protocol=linear`` trains and tests the layer."""
    recipe = {"optimizer": "adam", "lr": LR, "epochs": epochs, "batch": batch, "schedule": "cosine"}
    return linear_probe(train, test, classes=CLASSES, recipe=recipe, seed=SEED)


def measure(options: Options, **sizes: int) -> dict[str, Any]:
    """Every value, ready for JSON; on the CPU."""
    size = {**(SMALL if options.small else FULL), **sizes}
    batch, few = size["batch"], size["straightforward_epochs"]
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    encoder = STGCN(hidden=size["hidden"]).eval()
    train, test = make_clips(size["clips"], size["frames"], 1), make_clips(size["test_clips"], size["frames"], 2)
    encoder(test.x[:batch])  # warms up
    times = [time.perf_counter()]
    cached = [features(encoder, clips, batch) for clips in (train, test)]
    times.append(time.perf_counter())
    scores = probe(*cached, batch, size["epochs"])
    times.append(time.perf_counter())
    naive = linear_evaluation(
        encoder, train.x, train.label, test.x, test.label,
        classes=CLASSES, batch=batch, epochs=few, lr=LR, seed=SEED, threads=options.threads,
    )  # fmt: skip
    times.append(time.perf_counter())
    check_agreement(probe(*cached, batch, few), naive)
    once, epochs, straightforward = (b - a for a, b in pairwise(times))
    return {
        **size, "top1": scores.top1,
        "seconds": {"features": once, "probe": epochs, "ours": once + epochs,
                    "straightforward_epoch": straightforward / few,
                    "straightforward": straightforward / few * size["epochs"]},
    }  # fmt: skip


def check_agreement(ours: Scores, naive: Evaluated) -> None:
    """The last epoch's logits and the best top-1, bit for bit; raises Disagreement."""
    if not torch.equal(ours.logits, naive.logits) or ours.best_epoch_top1 != naive.best:
        raise Disagreement(f"linear: logits differ by up to {(ours.logits - naive.logits).abs().max()}, expected 0")
