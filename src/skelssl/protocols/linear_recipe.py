"""Define the recipe of a linear probe: the keys of ``probe.linear``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from skelssl.core.schema import BELOW_1, above, at_least, expect, read_block
from skelssl.optim import rate


@dataclass(frozen=True, kw_only=True)
class LinearRecipe:
    """Settings of a linear probe; the defaults are PSTL's (Zhou et al., AAAI 2023, reference code).

    PSTL: Adam, no augmentation, no BatchNorm.

    skeleton-contrast: sgd, lr 0.1, momentum 0.9, batch 64, 80 epochs, step at 50 and 70, init normal_0.01, 80 passes.
    MAMP, HA-CM, Skeleton2vec: sgd, lr 0.1, momentum 0.9, batch 256, 100 epochs, cosine per step, batch_norm (its eps
    1e-6, in Skeleton2vec 1e-5), init trunc_normal_0.01.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: Annotated[float, above(0)] = 0.01
    weight_decay: Annotated[float, at_least(0)] = 0.0  # L2, added to the gradient by both optimisers
    momentum: Annotated[float, BELOW_1] = 0.9  # sgd only
    epochs: Annotated[int, at_least(1)] = 150
    batch: Annotated[int, at_least(1)] = 128  # rows a step, over all devices
    drop_last: bool = False
    passes: Annotated[int, at_least(1)] = (
        1  # how often training clips are encoded, each time with new crops; the epochs use these in turn
    )
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    per_step: bool = False  # the learning rate changes within an epoch, not only between epochs
    warmup_epochs: Annotated[int, at_least(0)] = 0  # linear from 0; cosine spans the epochs that remain
    min_lr: Annotated[float, at_least(0)] = 0.0  # cosine only
    milestones: tuple[int, ...] = ()  # step only: 0-based epochs from which on the learning rate is multiplied by gamma
    gamma: Annotated[float, at_least(0)] = 0.1  # step only
    batch_norm: bool = False  # BatchNorm without affine part before the linear layer
    batch_norm_eps: Annotated[float, above(0)] = 1e-6
    init: Literal["xavier_normal", "normal_0.01", "trunc_normal_0.01", "default"] = "xavier_normal"
    view: Literal["probe", "test"] = (
        "probe"  # of the training clips; test: that of the test clips, averaged over the K clips
    )
    standardise: bool = False  # subtract the mean, divide by the standard deviation of the first pass

    @classmethod
    def read(cls, block: Mapping[str, object]) -> LinearRecipe:
        """Build the recipe from a config block; raise UserError for the first invalid key."""
        where, recipe = "probe.linear", read_block(cls, block, "probe.linear")
        warmup, epochs, passes = recipe.warmup_epochs, recipe.epochs, recipe.passes
        expect(f"{where}.warmup_epochs", warmup, warmup < epochs, f"below {epochs} epochs")
        once = passes == 1 or not recipe.standardise
        expect(f"{where}.standardise", recipe.standardise, once, f"false where clips are encoded {passes} times")
        steps = recipe.schedule != "step" or bool(recipe.milestones)
        expect(f"{where}.milestones", list(recipe.milestones), steps, "at least one epoch")
        return recipe

    def lr_at(self, epoch: int, fraction: float = 0.0) -> float:
        """Return the learning rate ``epoch`` epochs and a ``fraction`` of the next after the start."""
        return rate(self, epoch + fraction * self.per_step)
