"""Linear probe on frozen features; the recipes of all methods are data for one function.

A frozen encoder in evaluation mode gives the same feature whenever it sees the same clip. So the features are
computed once, and the epochs run on them: the same steps, hundreds of times faster. Where a recipe draws new crops in
every epoch, they are computed once per pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.pretrained.features import Features, full_float32
from skelssl.protocols.linear_recipe import LinearRecipe
from skelssl.results.scores import Scores

INIT: Mapping[str, Callable[[Tensor, torch.Generator], object]] = {
    "xavier_normal": lambda w, g: nn.init.xavier_normal_(w, generator=g),
    "normal_0.01": lambda w, g: nn.init.normal_(w, std=0.01, generator=g),
    "trunc_normal_0.01": lambda w, g: nn.init.trunc_normal_(w, std=0.01, generator=g),
    "default": lambda w, g: nn.init.kaiming_uniform_(w, a=5**0.5, generator=g),
}


Train = Features | Callable[[int], Features]  # the same features in every epoch, or those of an epoch by its number


def linear_probe(train: Train, test: Features, *, classes: int, recipe: Mapping[str, object], seed: int) -> Scores:
    """Trains one linear layer on ``train`` and scores ``test``; both on one device.

    The logits are the last epoch's. ``best_epoch_top1`` is the best of all epochs on the test set, as some
    references report it; nothing is selected by it. With K > 1 clips each training clip is a row of its own, and
    the logits of a test sample are the mean over its clips. ``recipe`` is read by :class:`LinearRecipe`.
    The global random state is neither read nor changed.

    Raises UserError for a bad recipe, and when the loss has run off to infinity.
    """
    plan = LinearRecipe.read(recipe)
    head = linear_head(test.x.shape[-1], classes, plan, seed).to(test.x.device)
    best = 0.0
    for _ in train_head(head, train, plan, seed):
        scores = Scores(head_logits(head, test), test.label, test.index)
        best = max(best, scores.top1)
    if not scores.logits.isfinite().all():
        raise UserError(f"probe.linear.lr: found {plan.lr}, with which the probe diverged; expected a smaller one")
    return Scores(scores.logits, scores.label, scores.index, best_epoch_top1=best)


def linear_head(width: int, classes: int, recipe: LinearRecipe, seed: int) -> nn.Sequential:
    """(rows, D) -> (rows, classes) on the CPU, drawn from ``seed`` alone: [BatchNorm without affine part,] Linear."""
    generator = _generator(seed)
    linear = nn.Linear(width, classes, device="meta").to_empty(device="cpu")  # draws nothing
    INIT[recipe.init](linear.weight, generator)
    if recipe.init == "default":
        nn.init.uniform_(linear.bias, -(width**-0.5), width**-0.5, generator=generator)
    else:
        nn.init.zeros_(linear.bias)
    norm = [nn.BatchNorm1d(width, affine=False, eps=recipe.batch_norm_eps)] if recipe.batch_norm else []
    return nn.Sequential(*norm, linear)


def train_head(head: nn.Module, train: Train, recipe: LinearRecipe, seed: int) -> Iterator[int]:
    """Trains ``head`` in place by cross-entropy on cached features; yields each epoch's number once it is done."""
    optimizer = _optimizer(head, recipe)
    for epoch in range(recipe.epochs):
        features = train if isinstance(train, Features) else train(epoch)
        x = rearrange(features.x, "n k d -> (n k) d")
        label = repeat(features.label, "n -> (n k)", k=features.x.shape[1])
        head.train()
        batches = epoch_batches(epoch_order(len(x), seed, epoch).to(x.device), recipe)
        with full_float32(x.device), _one_thread(), torch.enable_grad():
            for step, rows in enumerate(batches):
                optimizer.param_groups[0]["lr"] = recipe.lr_at(epoch, step / len(batches))
                loss = F.cross_entropy(head(x[rows]), label[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        yield epoch


def head_logits(head: nn.Module, features: Features) -> Tensor:
    """(N, classes) logits of ``head`` in evaluation mode, averaged over the K clips of each sample."""
    head.eval()
    with full_float32(features.x.device), _one_thread(), torch.no_grad():
        # In evaluation mode the head is an affine map, so the logits of the mean feature are the mean of the logits.
        logits: Tensor = head(features.x.mean(1))
    return logits


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """(n,) int64 permutation: the order in which epoch ``epoch`` visits the rows, from (n, seed, epoch) alone."""
    return torch.randperm(n, generator=_generator(seed, epoch))


def epoch_batches(order: Tensor, recipe: LinearRecipe) -> list[Tensor]:
    """Cuts an epoch's order into steps. A lone last row that BatchNorm can't normalise joins the step before."""
    batches = list(torch.split(order, recipe.batch))
    if recipe.drop_last and len(batches) > 1 and len(batches[-1]) < recipe.batch:
        batches.pop()
    if recipe.batch_norm and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


@contextmanager
def _one_thread() -> Iterator[None]:
    """A step is too small to share: threads gain little, cost tens of times that on a busy machine, and change bits."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


def _optimizer(head: nn.Module, recipe: LinearRecipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        head.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


def _generator(seed: int, *key: int) -> torch.Generator:
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
