"""Define the recipe of a fine-tuning: the keys of ``probe.finetune``, ``probe.semi`` and ``probe.transfer``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from skelssl.core.schema import BELOW_1, Range, above, at_least, expect, read_block
from skelssl.optim import Optim

Init = Literal["xavier_normal", "xavier_uniform", "normal_0.01", "trunc_normal_0.01", "trunc_normal_0.02"]

BETAS = Range("two numbers from 0 to below 1", lambda betas: len(betas) == 2 and all(0 <= b < 1 for b in betas))


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """Settings of a fine-tuning; the defaults are PSTL's (Zhou et al., AAAI 2023, reference code).

    PSTL: Adam, cosine per epoch, one linear layer.

    skeleton-contrast: sgd, lr 0.01, batch 64, 80 epochs, step at 50 and 70, init normal_0.01.
    MAMP, HA-CM, Skeleton2vec: adamw, lr 3e-4 to 1e-5, 5 epochs of warm-up, cosine per step, 100 epochs, batch 48,
    weight decay 0.05, layer decay 0.8, DropPath 0.3, label smoothing 0.1, and the large head.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, above(0)] = 5e-3
    betas: Annotated[tuple[float, ...], BETAS] = (0.9, 0.999)  # not sgd
    momentum: Annotated[float, BELOW_1] = 0.9  # sgd only
    weight_decay: Annotated[float, at_least(0)] = 0.0  # of all parameters but vectors, such as biases and norms
    undecayed: tuple[str, ...] = ()  # more parts of the encoder without weight decay
    layer_decay: Annotated[float, above(0, up_to=1)] = (
        1.0  # learning rate of a layer over that of the layer above it; 1 for the head
    )
    epochs: Annotated[int, at_least(1)] = 150
    batch: Annotated[int, at_least(2)] = 128  # clips a step
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    per_step: bool = False  # the learning rate changes within an epoch, not only between epochs
    warmup_epochs: Annotated[int, at_least(0)] = 0  # linear from 0; cosine spans the epochs that remain
    min_lr: Annotated[float, at_least(0)] = 0.0  # cosine only
    milestones: tuple[int, ...] = ()  # step only: 0-based epochs from which on the learning rate is multiplied by gamma
    gamma: Annotated[float, at_least(0)] = 0.1  # step only
    label_smoothing: Annotated[float, BELOW_1] = 0.0
    drop_path: Annotated[float | None, BELOW_1] = None  # of the encoder; null keeps that of pre-training
    head: Literal["linear", "large"] = "linear"  # on the pooled feature | on the tokens
    head_dim: Annotated[int, at_least(1)] = 2048  # large only
    head_dropout: Annotated[float, BELOW_1] = 0.0  # large only, on the tokens
    init: Init = "xavier_normal"  # of the head's weights
    test_every: Annotated[int, at_least(1)] = (
        1  # epochs between two evaluations on the test set, which select nothing; the last one is always evaluated
    )

    @classmethod
    def read(cls, block: Mapping[str, Any], where: str = "probe.finetune") -> FinetuneRecipe:
        """Build the recipe from a config block; raise UserError for the first invalid key."""
        recipe = read_block(cls, block, where)
        warmup, epochs, milestones = recipe.warmup_epochs, recipe.epochs, recipe.milestones
        expect(f"{where}.warmup_epochs", warmup, warmup < epochs, f"below {epochs} epochs")
        expect(f"{where}.milestones", milestones, recipe.schedule != "step" or bool(milestones), "at least one epoch")
        return recipe

    def optim(self) -> Optim:
        """Return the optimiser and its learning-rate schedule as pre-training's `Optim`."""
        shared = ("lr", "epochs", "weight_decay", "momentum", "schedule", "warmup_epochs", "min_lr", "milestones",
                  "gamma")  # fmt: skip
        interval: Literal["epoch", "step"] = "step" if self.per_step else "epoch"
        betas = (self.betas[0], self.betas[1])
        return Optim(name=self.optimizer, betas=betas, interval=interval, **{key: getattr(self, key) for key in shared})

    def lr_at(self, epoch: int, fraction: float = 0.0) -> float:
        """Return the head's learning rate ``epoch`` epochs and a ``fraction`` of the next after the start."""
        return self.optim().rate(epoch + fraction * self.per_step)
