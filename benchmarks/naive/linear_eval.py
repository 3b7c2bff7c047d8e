"""Linear evaluation as public code runs it: the frozen encoder works on every clip in every epoch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.protocols.linear import epoch_order, linear_head
from skelssl.protocols.linear_recipe import LinearRecipe


class Evaluated(NamedTuple):
    """Weights of the linear layer (classes, D) and (classes,), the last epoch's test logits, and the best top-1."""

    weight: Tensor
    bias: Tensor
    logits: Tensor
    best: float


def linear_evaluation(
    encoder: nn.Module, train: Tensor, label: Tensor, test: Tensor, answer: Tensor, *, classes: int, batch: int,
    epochs: int, lr: float, seed: int, threads: int,
) -> Evaluated:  # fmt: skip
    """Adam with a cosine per epoch, on clips (N, C, T, V, M) and labels (N,); the test clips are asked in every epoch.

    Start and order of the clips are ours, so that nothing but the caching differs.
    """
    head = linear_head(encoder(test[:1]).shape[1], classes, LinearRecipe(), seed)[0]
    optimizer = torch.optim.Adam(head.parameters(), lr, fused=True)
    encoder.eval()
    best = 0.0
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        for rows in epoch_order(len(train), seed, epoch).split(batch):
            with torch.no_grad():
                features = encoder(train[rows])
            torch.set_num_threads(1)  # a head's products change their last bits with the number of threads
            loss = F.cross_entropy(head(features), label[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            torch.set_num_threads(threads)
        with torch.no_grad():
            features = torch.cat([encoder(clips) for clips in test.split(batch)])
            torch.set_num_threads(1)
            logits = head(features)
            torch.set_num_threads(threads)
        best = max(best, float((logits.argmax(1) == answer).double().mean()))
    return Evaluated(head.weight.detach(), head.bias.detach(), logits, best)
