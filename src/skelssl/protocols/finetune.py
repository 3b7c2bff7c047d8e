"""Fine-tune a copy of the encoder together with a new head on labelled clips.

The last epoch is the result. The test set is also evaluated between epochs, for the best-epoch accuracy that most
papers print; nothing is selected by it.

On several ranks each one trains on its shard of every batch; batch norms span the ranks and gradients are summed. The
clips, their crops and the steps are those of one process, and the result differs only by the order of sums. Dropout and
DropPath are drawn per rank, so with them the result is another draw from the same distribution.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import repeat
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.data.loader import ahead, batches
from skelssl.heads import TokenHead
from skelssl.optim import decay_groups
from skelssl.pretrained.attributes import Pretrained
from skelssl.pretrained.features import extract, same_random_state
from skelssl.pretrained.load import build_encoder
from skelssl.protocols.finetune_recipe import FinetuneRecipe, Init
from skelssl.protocols.frozen import Frozen
from skelssl.results.scores import Scores
from skelssl.runtime.batch_norm import sync_batch_norms
from skelssl.runtime.collectives import rank, world_size
from skelssl.runtime.draws import seed_step, step_generator
from skelssl.runtime.ranks import say, sum_gradients, total

INIT: Mapping[Init, Callable[[Tensor], object]] = {
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "normal_0.01": partial(nn.init.normal_, std=0.01),
    "trunc_normal_0.01": partial(nn.init.trunc_normal_, std=0.01),
    "trunc_normal_0.02": partial(nn.init.trunc_normal_, std=0.02),
}


def finetune(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """Train all weights on all training clips and score the test clips.

    The same seed on the same machine gives the same numbers; the global random state is neither read nor changed.

    Args:
        frozen: The encoder on a dataset; the encoder stays as it is, a copy is trained.
        recipe: The keys of :class:`FinetuneRecipe`.
        seed: Decides the head, the batches, the crops and the dropout.

    Returns:
        Scores of the test clips after the last epoch; ``best_epoch_top1`` is the best of all evaluated epochs.

    Raises:
        UserError: The recipe does not fit the encoder, or training diverged.
    """
    return train_and_score(frozen, frozen.rows["train"], FinetuneRecipe.read(recipe), seed, name="finetune")


def train_and_score(frozen: Frozen, rows: NDArray[np.int64], plan: FinetuneRecipe, seed: int, *, name: str) -> Scores:
    """Train on the clips ``rows`` (N,) of the store, score the test clips, and print a line for each epoch.

    ``name`` is the protocol's, for printed lines and error messages. Raises UserError as :func:`finetune` does.
    """
    if len(rows) < 2:
        raise UserError(f"{name}: found {len(rows)} labelled clips, expected at least 2")
    best, since = 0.0, time.monotonic()
    with same_random_state(frozen.device):
        torch.manual_seed(seed)  # of the head
        model = build_classifier(frozen.encoder, frozen.data.classes, plan, where=f"probe.{name}")
        sync_batch_norms(model)
        optimizer = plan.optim().build(parameter_groups(model, plan, where=f"probe.{name}"))
        for epoch in range(plan.epochs):
            loss = train_epoch(model, optimizer, frozen, rows, plan, seed, epoch)
            if not np.isfinite(loss):
                raise _diverged(plan, name)
            line = f"{name} seed {seed} epoch {epoch + 1}/{plan.epochs}: loss {loss:.4f}"
            if (epoch + 1) % plan.test_every == 0 or epoch + 1 == plan.epochs:
                try:
                    scores = score_test_clips(model, frozen)
                except UserError as error:  # logits that are not finite
                    raise _diverged(plan, name) from error
                best = max(best, scores.top1)
                line += f", test top-1 {100 * scores.top1:.1f} %"
            say(f"{line}, {time.monotonic() - since:.0f} s")
    return replace(scores, best_epoch_top1=best)


def _diverged(plan: FinetuneRecipe, name: str) -> UserError:
    return UserError(f"probe.{name}.lr: found {plan.lr}, with which training diverged; expected a lower one")


class Classifier(nn.Module):
    """Encoder and head: clips (N, C, T', V, M) -> logits (N, classes)."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor, ignore: Sequence[int] = ()) -> Tensor:
        if not isinstance(self.head, TokenHead):
            return cast(Tensor, self.head(self.encoder(x, ignore=ignore)))
        if ignore:
            raise UserError(f"encoder ignore: found {list(ignore)}, expected none under a head that takes every token")
        return cast(Tensor, self.head(cast(Any, self.encoder).tokens(x)))


def build_classifier(encoder: nn.Module, classes: int, plan: FinetuneRecipe, *, where: str) -> Classifier:
    """Return a copy of ``encoder`` with a head drawn from torch's global generator.

    Args:
        encoder: Maps clips to features (N, ``dim``); the large head takes its ``tokens()``.
        classes: Number of classes.
        plan: Which head, how it is initialised, and the DropPath of the copy.
        where: The dotted key of the recipe, for error messages.

    Raises:
        UserError: The encoder has no tokens for the large head, or no DropPath to change.
    """
    own = cast(Any, encoder)
    if plan.head == "linear":
        head: nn.Module = nn.Linear(own.dim, classes)
    elif hasattr(encoder, "tokens"):
        width = own.grid[1] * own.dim
        head = TokenHead(in_dim=width, classes=classes, dim=plan.head_dim, dropout=plan.head_dropout)
    else:
        raise UserError(f"{where}.head: found large, expected linear: {type(encoder).__name__} has no tokens")
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            INIT[plan.init](layer.weight)
            nn.init.zeros_(layer.bias)
    weight = next(encoder.parameters())
    return Classifier(_copy(encoder, plan.drop_path, where), head).to(weight)


def _copy(encoder: nn.Module, drop_path: float | None, where: str) -> nn.Module:
    """Copy the encoder; it is rebuilt where its DropPath changes."""
    if drop_path is None:
        return copy.deepcopy(encoder)
    about = Pretrained.of(encoder).about
    block = about["encoder"]
    if "drop_path" not in block:
        raise UserError(f"{where}.drop_path: found {drop_path}, expected null: {type(encoder).__name__} has none")
    trust = [block["_target_"].split(".")[0]]  # this target was trusted when the encoder was loaded
    again = build_encoder({**about, "encoder": {**block, "drop_path": drop_path}}, trust)
    again.load_state_dict(encoder.state_dict())
    return again


def parameter_groups(model: Classifier, plan: FinetuneRecipe, *, where: str) -> list[dict[str, Any]]:
    """Return parameter groups by layer and weight decay; ``lr_scale`` is layer_decay^(layers above), 1 for the head.

    Raises:
        UserError: There is a layer decay and the encoder has no ``layer_ids()``, or an undecayed part is not in it.
    """
    ids, top = _layers(model, plan, where)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    spared = [f"encoder.{part}" for part in plan.undecayed]
    for part in spared:
        if not any(name.startswith(part) for name, _ in trained):
            raise UserError(f"{where}.undecayed: found {part.removeprefix('encoder.')}, expected parts of the encoder")
    groups = []
    for layer in sorted(set(ids.values())):
        own = decay_groups([(name, p) for name, p in trained if ids[name] == layer], spared)
        groups += [{**group, "lr_scale": plan.layer_decay ** (top - layer)} for group in own if group["params"]]
    return groups


def _layers(model: Classifier, plan: FinetuneRecipe, where: str) -> tuple[dict[str, int], int]:
    """Return the layer of every parameter, and that of the head."""
    if plan.layer_decay == 1:
        return {name: 0 for name, _ in model.named_parameters()}, 0
    encoder = cast(Any, model.encoder)
    if not hasattr(encoder, "layer_ids"):
        raise UserError(
            f"{where}.layer_decay: found {plan.layer_decay}, expected 1: {type(encoder).__name__} has no layer_ids"
        )
    top = len(encoder.blocks) + 1
    below = {f"encoder.{name}": layer for name, layer in encoder.layer_ids().items()}
    return {name: below.get(name, top) for name, _ in model.named_parameters()}, top


def train_epoch(
    model: Classifier, optimizer: Optimizer, frozen: Frozen, rows: NDArray[np.int64], plan: FinetuneRecipe, seed: int,
    epoch: int,
) -> float:  # fmt: skip
    """Train for one pass over ``rows`` and return the mean loss of its clips.

    All random numbers come from (seed, epoch, step), those of dropout from the rank too.
    """
    steps, optim = epoch_steps(rows, plan.batch, seed, epoch, least=max(2, world_size())), plan.optim()
    losses = torch.zeros((), device=frozen.device)
    model.train()
    for step, batch in enumerate(ahead(frozen.data.store, steps, prefetch=2)):
        seed_step(seed, epoch, step, rank())  # dropout
        rate = optim.rate(epoch + plan.per_step * step / len(steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        loss = _loss(model, batch.to(frozen.device), frozen, plan, step_generator(seed, epoch, step, 0))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        sum_gradients(model.parameters())
        optimizer.step()
        losses += loss.detach() * len(batch)
    return float(total(losses)) / len(rows)


def _loss(model: Classifier, batch: Batch, frozen: Frozen, plan: FinetuneRecipe, generator: torch.Generator) -> Tensor:
    """Return this rank's share of the mean cross-entropy of a batch under the training view, () float32.

    Every rank draws the clips of the whole batch, so that they are those of one process, and encodes its shard.
    """
    clips = frozen.views["probe"](batch, generator)
    label = repeat(batch.label, "n -> (n k)", k=len(clips) // len(batch))
    x, label = clips[rank() :: world_size()], label[rank() :: world_size()]
    with (
        torch.enable_grad(),
        torch.autocast(frozen.device.type, torch.bfloat16, enabled=frozen.precision == "bf16"),
    ):
        logits = model(x)
    mean = F.cross_entropy(logits.float(), label, label_smoothing=plan.label_smoothing)
    return mean * (len(x) / len(clips))


def epoch_steps(rows: NDArray[np.int64], batch: int, seed: int, epoch: int, least: int = 2) -> list[NDArray[np.int64]]:
    """Split ``rows`` (N,), permuted by (seed, epoch), into batches of store rows.

    A last batch of fewer than ``least`` clips is merged with the one before: BatchNorm cannot normalise a single clip,
    and every rank needs one.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    steps = [order[start : start + batch] for start in range(0, len(order), batch)]
    if len(steps) > 1 and len(steps[-1]) < least:
        steps[-2:] = [np.concatenate(steps[-2:])]
    return steps


def score_test_clips(model: Classifier, frozen: Frozen) -> Scores:
    """Score every test clip under the test view, in evaluation mode; logits (N, classes) are the mean over K clips."""
    clips = batches(frozen.data.store, frozen.rows["test"], share=(rank(), world_size()))
    place: dict[str, Any] = {"device": frozen.device, "precision": frozen.precision, "share": (rank(), world_size())}
    found = extract(model, frozen.views["test"], clips, **place).to("cpu")
    return Scores(found.x.mean(1), found.label, found.index)
