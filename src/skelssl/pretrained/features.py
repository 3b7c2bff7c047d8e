"""Extract features of a frozen encoder, once for every protocol that works on vectors."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import count

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.runtime.collectives import gather
from skelssl.runtime.devices import matmul_precision
from skelssl.runtime.draws import step_generator

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Features:
    """Encoder outputs of N samples seen through K clips each, in ascending order of ``index``."""

    x: Tensor  # (N, K, D) float32
    label: Tensor  # (N,) int64
    index: Tensor  # (N,) int64, row of the sample in its recipe store

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Features:
        """Returns the features on ``device``."""
        return Features(*(getattr(self, f.name).to(device) for f in fields(self)))

    def take(self, rows: Tensor) -> Features:
        """Return the samples at positions ``rows`` (int64 or bool), in that order."""
        return Features(*(getattr(self, f.name)[rows] for f in fields(self)))

    def averaged(self) -> Features:
        """Return the mean over the K clips of each sample as its only clip, (N, 1, D)."""
        return Features(self.x.mean(1, keepdim=True), self.label, self.index)


def merge(parts: Sequence[Features]) -> Features:
    """Merge several tables into one with each ``index`` once, ascending.

    A distributed loader pads its last batch with samples it has already given; counting them twice would bend every
    accuracy. Sorting makes the table independent of the loader's order and of the number of ranks.
    """
    if not parts:
        raise UserError("features: found no clip to encode, expected at least one")
    whole = Features(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Features)))
    order = whole.index.argsort(stable=True)
    ordered = whole.index[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return whole.take(order[first])


def extract(
    encoder: nn.Module,
    view: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device | str,
    precision: str = "fp32",
    ignore: Sequence[int] = (),
    seed: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Features:
    """Encode every batch; the features stay on ``device``, where ``encoder`` must already be.

    ``view(batch, generator)`` gives (N*K, C, T', V, M) with the K clips of a sample adjacent, and ``encoder`` maps
    that to (N*K, D). A batch has a CPU generator of its own from ``seed`` and its number, so a view that draws crops is
    repeatable. ``ignore`` lists joints that the encoder leaves out. Modes are restored module by module; parameters,
    buffers and the global random states stay as before.

    ``share=(r, W)``: the batches are those of rank r, numbers r, r + W, ... of the pass, at least one; every rank gets
    the features of all, bit-identical to those of one process, since the batches are the same.

    Raises UserError for an unknown precision, for no batches, and for features that are not finite.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}")
    device = torch.device(device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    # Not inference_mode: its tensors can't enter the autograd graph of a probe that trains on them.
    with evaluating(encoder, view), same_random_state(device), torch.no_grad(), autocast:
        parts = [
            _encode(encoder, view, batch.to(device), step_generator(seed, 0, number, "shared"), ignore)
            for number, batch in zip(count(*share), batches, strict=False)
        ]
    features = merge(parts)
    if share[1] > 1:
        features = merge([Features(*(gather(getattr(features, f.name)) for f in fields(Features)))])
    broken = ~features.x.isfinite().all(2).all(1)
    if broken.any():
        rows = features.index[broken].tolist()
        raise UserError(f"encoder: found NaN or infinite features for {len(rows)} of {len(features)} clips "
                        f"(first row {rows[0]}), expected finite ones")  # fmt: skip
    return features


def _encode(
    encoder: nn.Module, view: nn.Module, batch: Batch, generator: torch.Generator, ignore: Sequence[int]
) -> Features:
    clips = view(batch, generator).split(len(batch))  # K clips a sample need no more memory than one
    y = torch.cat([encoder(part, ignore=ignore).float() for part in clips])
    x = rearrange(y, "(n k) d -> n k d", n=len(batch))
    return Features(x, batch.label, batch.index)


@contextmanager
def evaluating(*roots: nn.Module) -> Iterator[None]:
    """Put modules into evaluation mode, and every submodule back into its own mode afterwards.

    What ``compile=true`` compiled for training runs plain: other modes and shapes would be compiled again.
    """
    modes = [(module, module.training) for root in roots for module in root.modules()]
    try:
        for root in roots:
            root.eval()
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def same_random_state(device: torch.device) -> Iterator[None]:
    """Restore the global random states of Python, numpy and torch afterwards: even a DataLoader draws a seed."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - others still use the global state
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def standardised(train: Features, test: Features) -> tuple[Features, Features]:
    """Subtract the mean over the training rows from both, and divide by their standard deviation, per dimension.

    A dimension that is constant up to the rounding of float32 becomes 0.
    """
    rows = train.x.double().flatten(0, 1)
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    scale = torch.where(deviation > 1e-6 * mean.abs(), 1 / deviation, 0)
    first, second = (Features(((f.x.double() - mean) * scale).to(f.x.dtype), f.label, f.index) for f in (train, test))
    return first, second


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Compute products on ``device`` in plain float32, whatever speed-up (TF32, autocast) is set."""
    with matmul_precision("highest"), torch.autocast(device.type, enabled=False):
        yield


def probe_split(label: Tensor, subject: Tensor, *, max_clips: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """Split a training set for monitoring and model selection, so that neither sees the test set.

    The clips of every fourth subject (at least one) are queries, the others the gallery, so that a person is on one
    side only. With a single subject every fourth clip of each class is a query.

    Args:
        label, subject: (N,) int64.
        max_clips: bounds both sides together; what is left out is drawn so that classes stay as even as possible.
        seed: of the draws.

    Returns:
        Ascending positions (gallery, query), int64.

    Raises:
        UserError: when fewer than two clips can be used.
    """
    if (found := min(len(label), max_clips or len(label))) < 2:
        raise UserError(f"probe.max_clips: found {found} usable clips, expected at least 2")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(label), generator=generator)
    people = torch.unique(subject)
    if len(people) > 1:
        drawn = torch.randperm(len(people), generator=generator)[: max(1, round(len(people) / 4))]
        asks = torch.isin(subject, people[drawn])[order]
    else:
        asks = _rank_in_class(label[order]) % 4 == 1
        asks[0] |= not asks.any()  # every class has a single clip
    gallery, query = order[~asks], order[asks]
    if max_clips is not None and max_clips < len(label):
        n_query = max(1, min(round(max_clips * len(query) / len(label)), max_clips - 1))
        gallery, query = _evenly(gallery, label, max_clips - n_query), _evenly(query, label, n_query)
    return gallery.sort().values, query.sort().values


def _rank_in_class(label: Tensor) -> Tensor:
    """Return (N,) how many earlier entries have the same label."""
    ordered, order = label.sort(stable=True)
    start = torch.searchsorted(ordered, ordered)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(label)) - start)


def _evenly(rows: Tensor, label: Tensor, n: int) -> Tensor:
    return rows[_rank_in_class(label[rows]).argsort(stable=True)[:n]]
