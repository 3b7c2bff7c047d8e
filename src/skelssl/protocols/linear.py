"""Train a linear probe on frozen features; one function serves the recipes of all methods.

A frozen encoder in evaluation mode maps the same clip to the same feature. So the features are computed once and all
epochs run on them, which takes the same steps hundreds of times faster. Where a recipe draws new crops in every epoch,
the features are computed once per pass.
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
    """Train one linear layer on training features and score test features.

    With K > 1 clips a sample, each training clip is a separate row, and the logits of a test sample are the mean over
    its clips. The global random state is neither read nor changed.

    Args:
        train: Features (N, K, D), or a function from the epoch's number to them, on the device of ``test``.
        test: Features (N', K, D).
        classes: Number of classes.
        recipe: The keys of :class:`LinearRecipe`.
        seed: Decides the initial layer and the order of the rows.

    Returns:
        Scores of the last epoch, (N', classes). ``best_epoch_top1`` is the best of all epochs on the test set, which
        some papers report; nothing is selected by it.

    Raises:
        UserError: The recipe is invalid, or the layer diverged.
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
    """Return [BatchNorm without affine part,] Linear on the CPU, (N, D) -> (N, classes), drawn from ``seed`` alone."""
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
    """Train ``head`` in place by cross-entropy on cached features; yield the number of each epoch after it."""
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
    """Return logits (N, classes) of ``head`` in evaluation mode, averaged over the K clips of each sample."""
    head.eval()
    with full_float32(features.x.device), _one_thread(), torch.no_grad():
        # In evaluation mode the head is an affine map, so the logits of the mean feature are the mean of the logits.
        logits: Tensor = head(features.x.mean(1))
    return logits


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order (n,) int64 in which an epoch visits the rows; it depends on (n, seed, epoch) alone."""
    return torch.randperm(n, generator=_generator(seed, epoch))


def epoch_batches(order: Tensor, recipe: LinearRecipe) -> list[Tensor]:
    """Split an order into batches; a single last row, which BatchNorm cannot normalise, joins the one before."""
    batches = list(torch.split(order, recipe.batch))
    if recipe.drop_last and len(batches) > 1 and len(batches[-1]) < recipe.batch:
        batches.pop()
    if recipe.batch_norm and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run on one thread: on steps this small more threads gain little, cost much on a busy machine, and change bits."""
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
