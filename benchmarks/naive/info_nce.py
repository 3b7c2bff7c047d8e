"""Momentum contrast as public code writes it: the queue cloned, logits joined, keys averaged one weight at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.momentum import Queue


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Unit rows (N, D), (N, D), (K, D) -> loss ()."""
    positive = torch.einsum("nc,nc->n", query, key)[:, None]
    negative = torch.einsum("nc,kc->nk", query, negatives.clone())
    logits = torch.cat([positive, negative], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


@torch.no_grad()
def follow(copy: nn.Module, online: nn.Module, momentum: float) -> None:
    for mine, theirs in zip(copy.parameters(), online.parameters(), strict=True):
        mine.data = mine.data * momentum + theirs.data * (1 - momentum)


@torch.no_grad()
def enqueue(queue: Queue, keys: Tensor) -> None:
    """The host reads the pointer; keys go in as one slice, or one by one where they wrap."""
    at, size = int(queue.pointer), len(queue.keys)
    if at + len(keys) <= size:
        queue.keys[at : at + len(keys)] = keys
    else:
        for n in range(max(len(keys) - size, 0), len(keys)):
            queue.keys[(at + n) % size] = keys[n]
    queue.pointer.fill_((at + len(keys)) % size)
