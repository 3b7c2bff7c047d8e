"""The recipe of a fine-tuning: what a method's config says under ``probe.finetune`` or ``probe.semi``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from skelssl.core.errors import UserError
from skelssl.optim import Optim

Init = Literal["xavier_normal", "xavier_uniform", "normal_0.01", "trunc_normal_0.01", "trunc_normal_0.02"]


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """Defaults are PSTL's (Zhou et al., AAAI 2023, reference code): Adam, cosine per epoch, one linear layer.

    skeleton-contrast: sgd, lr 0.01, batch 64, 80 epochs, step at 50 and 70, init normal_0.01.
    MAMP, HA-CM, Skeleton2vec: adamw, lr 3e-4 to 1e-5, 5 epochs of warm-up, cosine per step, 100 epochs, batch 48,
    weight decay 0.05, layer decay 0.8, DropPath 0.3, label smoothing 0.1, and the large head.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 5e-3
    betas: tuple[float, ...] = (0.9, 0.999)  # not sgd
    momentum: float = 0.9  # sgd only
    weight_decay: float = 0.0  # of everything but vectors, such as biases and norms
    undecayed: tuple[str, ...] = ()  # parts of the encoder that are spared too
    layer_decay: float = 1.0  # the rate of a layer over that of the layer above it; the head has the full rate
    epochs: int = 150
    batch: int = 128  # clips a step
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    per_step: bool = False  # the rate moves within an epoch, not only between epochs
    warmup_epochs: int = 0  # linear from 0; cosine spans the epochs that remain
    min_lr: float = 0.0  # cosine only
    milestones: tuple[int, ...] = ()  # step only: 0-based epochs from which on the rate is multiplied by gamma
    gamma: float = 0.1  # step only
    label_smoothing: float = 0.0
    drop_path: float | None = None  # of the encoder; null leaves it as it was trained
    head: Literal["linear", "large"] = "linear"  # on the pooled feature | on the tokens
    head_dim: int = 2048  # large only
    head_dropout: float = 0.0  # large only, on the tokens
    init: Init = "xavier_normal"  # of the head's weights
    test_every: int = 1  # epochs between two looks at the test set, from which nothing is chosen; the last always is

    @classmethod
    def read(cls, recipe: Mapping[str, Any], where: str = "probe.finetune") -> FinetuneRecipe:
        """Checks a config block; UserError names the first wrong key, what was found and what was expected."""
        hints = get_type_hints(cls)
        for key, value in recipe.items():
            if key not in hints:
                names = ", ".join(f.name for f in fields(cls))
                raise UserError(f"{where}.{key}: found an unknown key, expected one of {names}")
            expected, ok = _kind(hints[key])
            if not ok(value):
                raise UserError(f"{where}.{key}: found {value!r}, expected {expected}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.items()}
        read = cls(**values)
        for key, good, expected in read._ranges():
            if not good:
                raise UserError(f"{where}.{key}: found {getattr(read, key)!r}, expected {expected}")
        return read

    def optim(self) -> Optim:
        """The optimiser and its schedule in the words of pre-training."""
        shared = (
            "lr",
            "epochs",
            "weight_decay",
            "momentum",
            "schedule",
            "warmup_epochs",
            "min_lr",
            "milestones",
            "gamma",
        )
        interval = "step" if self.per_step else "epoch"
        betas = (self.betas[0], self.betas[1])
        return Optim(name=self.optimizer, betas=betas, interval=interval, **{key: getattr(self, key) for key in shared})

    def lr_at(self, epoch: int, fraction: float = 0.0) -> float:
        """The head's rate in a step, before which ``epoch`` epochs and a ``fraction`` of the next are done."""
        return self.optim().rate(epoch + fraction * self.per_step)

    def _ranges(self) -> list[tuple[str, bool, str]]:
        least = {"weight_decay": 0, "min_lr": 0, "warmup_epochs": 0, "gamma": 0, "epochs": 1, "batch": 2, "head_dim": 1,
                 "test_every": 1}  # fmt: skip
        shares = ("momentum", "label_smoothing", "head_dropout", "drop_path")
        return [
            *((key, getattr(self, key) >= low, f"at least {low}") for key, low in least.items()),
            *((key, 0 <= (getattr(self, key) or 0) < 1, "at least 0 and below 1") for key in shares),
            ("lr", self.lr > 0, "above 0"),
            ("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers from 0 to below 1"),
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0 and up to 1"),
            ("warmup_epochs", self.warmup_epochs < self.epochs, f"below {self.epochs} epochs"),
            ("milestones", self.schedule != "step" or bool(self.milestones), "at least one epoch"),
        ]


def _kind(hint: Any) -> tuple[str, Callable[[Any], bool]]:
    """What a config value of this type is called, and whether a value is one."""
    if hint in _KINDS:
        return _KINDS[hint]
    choices = get_args(hint)
    return f"one of {', '.join(choices)}", lambda value: value in choices


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or isinstance(value, float)


def _several(one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Sequence) and not isinstance(value, str) and all(map(one, value))


_KINDS: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", _whole),
    float: ("a number", _number),
    float | None: ("a number or null", lambda value: value is None or _number(value)),
    tuple[int, ...]: ("a list of whole numbers", _several(_whole)),
    tuple[float, ...]: ("a list of numbers", _several(_number)),
    tuple[str, ...]: ("a list of names", _several(lambda value: isinstance(value, str))),
}
