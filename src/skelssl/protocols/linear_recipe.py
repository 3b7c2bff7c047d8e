"""The recipe of a linear probe: what a method's config says under ``probe.linear``, checked once, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from skelssl.core.errors import UserError
from skelssl.optim import rate

_AT_LEAST_0 = ("weight_decay", "min_lr", "warmup_epochs", "gamma")
_AT_LEAST_1 = ("epochs", "batch", "passes")


@dataclass(frozen=True, kw_only=True)
class LinearRecipe:
    """Defaults are PSTL's (Zhou et al., AAAI 2023, reference code): Adam, no augmentation, no BatchNorm.

    skeleton-contrast: sgd, lr 0.1, momentum 0.9, batch 64, 80 epochs, step at 50 and 70, init normal_0.01, 80 passes.
    MAMP, HA-CM, Skeleton2vec: sgd, lr 0.1, momentum 0.9, batch 256, 100 epochs, cosine per step, batch_norm (its eps
    1e-6, in Skeleton2vec 1e-5), init trunc_normal_0.01.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 0.01
    weight_decay: float = 0.0  # L2, added to the gradient by both optimisers
    momentum: float = 0.9  # sgd only
    epochs: int = 150
    batch: int = 128  # rows a step, over all devices
    drop_last: bool = False
    passes: int = 1  # how often the training clips are encoded, each time with new crops; the epochs take them in turns
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    per_step: bool = False  # the rate moves within an epoch, not only between epochs
    warmup_epochs: int = 0  # linear from 0; cosine spans the epochs that remain
    min_lr: float = 0.0  # cosine only
    milestones: tuple[int, ...] = ()  # step only: 0-based epochs from which on the rate is multiplied by gamma
    gamma: float = 0.1  # step only
    batch_norm: bool = False  # BatchNorm without affine part before the linear layer
    batch_norm_eps: float = 1e-6
    init: Literal["xavier_normal", "normal_0.01", "trunc_normal_0.01", "default"] = "xavier_normal"
    view: Literal["probe", "test"] = (
        "probe"  # of the training clips; test: as test clips are seen, the K clips averaged
    )
    standardise: bool = False  # features less their mean over their deviation, both of the first pass of training clips

    @classmethod
    def read(cls, recipe: Mapping[str, object]) -> LinearRecipe:
        """Checks a config block; UserError names the first wrong key, what was found and what was expected."""
        hints = get_type_hints(cls)
        known = [f.name for f in fields(cls)]
        for key in recipe:
            if key not in known:
                raise UserError(f"probe.linear.{key}: found an unknown key, expected one of {', '.join(known)}")
        read = cls(**{key: _value(key, value, hints[key]) for key, value in recipe.items()})
        read._check_ranges()
        return read

    def lr_at(self, epoch: int, fraction: float = 0.0) -> float:
        """The rate of a step, before which ``epoch`` epochs and a ``fraction`` of the next are done."""
        return rate(self, epoch + fraction * self.per_step)

    def _check_ranges(self) -> None:
        for key in _AT_LEAST_0:
            _expect(key, getattr(self, key), getattr(self, key) >= 0, "at least 0")
        for key in _AT_LEAST_1:
            _expect(key, getattr(self, key), getattr(self, key) >= 1, "at least 1")
        for key in ("lr", "batch_norm_eps"):
            _expect(key, getattr(self, key), getattr(self, key) > 0, "above 0")
        _expect("momentum", self.momentum, 0 <= self.momentum < 1, "at least 0 and below 1")
        _expect("warmup_epochs", self.warmup_epochs, self.warmup_epochs < self.epochs, f"below {self.epochs} epochs")
        once = self.passes == 1 or not self.standardise
        _expect("standardise", self.standardise, once, f"false where clips are encoded {self.passes} times")
        if self.schedule == "step":
            _expect("milestones", list(self.milestones), bool(self.milestones), "at least one epoch")


def _value(key: str, value: Any, hint: Any) -> Any:
    if choices := get_args(hint) if hint != tuple[int, ...] else ():
        _expect(key, value, value in choices, f"one of {', '.join(choices)}")
    elif hint is bool:
        _expect(key, value, isinstance(value, bool), "true or false")
    elif hint is int:
        _expect(key, value, _is_int(value), "a whole number")
    elif hint is float:
        _expect(key, value, _is_int(value) or isinstance(value, float), "a number")
    else:
        ok = isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_int, value))
        _expect(key, value, ok, "a list of whole numbers")
        return tuple(value)
    return value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _expect(key: str, found: object, ok: bool, expected: str) -> None:
    if not ok:
        raise UserError(f"probe.linear.{key}: found {found!r}, expected {expected}")
