from math import pi, sin

import pytest

from skelssl.core.errors import UserError
from skelssl.protocols.linear_recipe import LinearRecipe

PSTL = {"optimizer": "adam", "lr": 0.01, "weight_decay": 0, "epochs": 150, "schedule": "cosine", "batch": 128}
CONTRAST = {"optimizer": "sgd", "lr": 0.1, "epochs": 80, "schedule": "step", "milestones": [50, 70], "gamma": 0.1}
MAMP = {"optimizer": "sgd", "lr": 0.1, "epochs": 100, "schedule": "cosine", "per_step": True}


@pytest.mark.parametrize(
    ("recipe", "epoch", "fraction", "rate"),
    [
        (PSTL, 0, 0.9, 0.01),  # moves between epochs only
        (PSTL, 75, 0.0, 5e-3),
        (PSTL, 149, 0.0, 0.01 * sin(pi / 300) ** 2),
        (CONTRAST, 49, 0.9, 0.1),
        (CONTRAST, 50, 0.0, 0.01),
        (CONTRAST, 70, 0.0, 0.001),
        (MAMP, 0, 0.0, 0.1),
        (MAMP, 50, 0.0, 0.05),
        (MAMP, 99, 0.5, 0.1 * 6.168375e-5),
        (MAMP | {"warmup_epochs": 20, "min_lr": 0.01}, 5, 0.5, 0.1 * 5.5 / 20),
        (MAMP | {"warmup_epochs": 20, "min_lr": 0.01}, 60, 0.0, 0.055),
        ({"schedule": "constant", "lr": 2}, 149, 0.0, 2.0),
    ],
)
def test_rates(recipe: dict[str, object], epoch: int, fraction: float, rate: float) -> None:
    assert LinearRecipe.read(recipe).lr_at(epoch, fraction) == pytest.approx(rate, rel=1e-6)


def test_the_defaults_are_pstl() -> None:
    assert LinearRecipe.read(PSTL) == LinearRecipe.read({})


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"nesterov": True}, "probe.linear.nesterov: found an unknown key, expected one of optimizer, lr,"),
        ({"optimizer": "lion"}, "probe.linear.optimizer: found 'lion', expected one of adam, sgd"),
        ({"init": "zeros"}, "probe.linear.init: found 'zeros', expected one of xavier_normal, normal_0.01,"),
        ({"schedule": ["step"]}, "probe.linear.schedule: found ['step'], expected one of cosine,"),
        ({"lr": "fast"}, "probe.linear.lr: found 'fast', expected a number"),
        ({"lr": 0}, "probe.linear.lr: found 0, expected above 0"),
        ({"batch_norm_eps": 0}, "probe.linear.batch_norm_eps: found 0, expected above 0"),
        ({"lr": float("nan")}, "probe.linear.lr: found nan, expected above 0"),
        ({"epochs": 1.5}, "probe.linear.epochs: found 1.5, expected a whole number"),
        ({"epochs": True}, "probe.linear.epochs: found True, expected a whole number"),
        ({"epochs": 0}, "probe.linear.epochs: found 0, expected at least 1"),
        ({"weight_decay": -1}, "probe.linear.weight_decay: found -1, expected at least 0"),
        ({"momentum": 1.0}, "probe.linear.momentum: found 1.0, expected at least 0 and below 1"),
        ({"batch_norm": 1}, "probe.linear.batch_norm: found 1, expected true or false"),
        ({"milestones": "50"}, "probe.linear.milestones: found '50', expected a list of whole numbers"),
        ({"schedule": "step"}, "probe.linear.milestones: found [], expected at least one epoch"),
        ({"warmup_epochs": 150}, "probe.linear.warmup_epochs: found 150, expected below 150 epochs"),
    ],
)
def test_mistakes_are_named(recipe: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        LinearRecipe.read(recipe)
    assert str(caught.value).startswith(sentence)
