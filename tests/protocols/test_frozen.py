"""Frozen means frozen: no protocol moves a bit of an encoder, whatever the encoder and whatever mode it was in."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

import skelssl.encoders
from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.encoders.representations import ConcatL2
from skelssl.protocols.frozen import Frozen, coverage, linear
from skelssl.protocols.linear import linear_probe
from skelssl.protocols.plan import probe_recipe, read_protocols
from skelssl.protocols.selection import select_and_score
from tests.helpers.config import compose
from tests.helpers.frozen import ENCODERS, frozen_of

ALL = [read_protocols(path.stem, "protocol")[0] for path in sorted((config_dir() / "protocol").glob("*.yaml"))]
FROZEN = [p["name"] for p in ALL if "run" in p and p.get("baseline", True)]
LOST = [{"how": how, "when": when} for how in ("drop", "zero") for when in ("both", "test")]
CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in FROZEN if name != "lost_joints"]
CASES += [
    ("lost_joints", change | {"random_joints": [3], "random_parts": [], "headline": "3 joints"}) for change in LOST
]


def test_the_list_has_every_encoder_of_the_package() -> None:
    modules = [
        importlib.import_module(f"skelssl.encoders.{m.name}") for m in pkgutil.iter_modules(skelssl.encoders.__path__)
    ]
    found = {name for module in modules for name, value in vars(module).items()
             if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
             and "ignore" in inspect.signature(value.forward).parameters}  # fmt: skip
    assert found - {ConcatL2.__name__} == set(ENCODERS)


def test_the_list_has_every_frozen_protocol() -> None:
    assert set(FROZEN) == {"linear", "knn", "retrieval", "cluster", "lost_joints"}


def bits(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, those included that no file holds."""
    return {name: value.detach().clone() for name, value in (*module.named_parameters(), *module.named_buffers())}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("protocol", "changes"),
    CASES,
    ids=lambda case: str(case) if isinstance(case, str) else "-".join(map(str, list(case.values())[:2])),
)
def test_every_bit_stays(encoder: str, protocol: str, changes: dict[str, Any], data_root: Path) -> None:
    frozen = frozen_of(encoder, data_root, limit=2)
    frozen.encoder.train()  # where nobody sees to it, batch statistics would move
    config = compose("evaluate", f"protocol={protocol}", "checkpoint=x", "mode=clean", "limit.epochs=2")
    recipe = probe_recipe(config, config["protocol"], {"probe": {}}) | changes
    before, state = bits(frozen.encoder), torch.get_rng_state()
    scores, _ = select_and_score(instantiate(config["protocol"]["run"]), frozen, recipe, 0)
    after = bits(frozen.encoder)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.training for module in frozen.encoder.modules())
    assert all(p.grad is None for p in frozen.encoder.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert len(scores.label) == 8
    assert scores.logits.shape == (8, 4)


def test_a_body_that_the_encoder_does_not_know_is_refused(data_root: Path) -> None:
    frozen = frozen_of("STGCN", data_root)
    frozen.encoder.about["layout"] = "kinect20"  # type: ignore[index]
    with pytest.raises(UserError, match="dataset: found synthetic of layout ntu25, expected kinect20, the layout of"):
        Frozen(frozen.encoder, frozen.data, device=torch.device("cpu"), precision="fp32")


def test_classes_without_training_clips_are_counted(data_root: Path) -> None:
    frozen = frozen_of("STGCN", data_root, limit=None)
    assert coverage(frozen) == {"classes_without_training": 0, "test_clips_without_training": 0}
    label = frozen.data.store.labels
    frozen.rows["train"] = frozen.rows["train"][label[frozen.rows["train"]] != 2]
    expected = int((label[frozen.rows["test"]] == 2).sum())
    assert coverage(frozen) == {"classes_without_training": 1, "test_clips_without_training": expected}
    assert expected > 0


def test_crops_are_encoded_once_each_and_the_epochs_take_them_in_turns(data_root: Path) -> None:
    frozen = frozen_of("AGCN", data_root)
    recipe = {"epochs": 5, "batch": 4, "lr": 0.1, "optimizer": "sgd", "init": "normal_0.01"}
    made: list[int] = []
    frozen.encoder.register_forward_hook(lambda *_: made.append(1))
    few = linear(frozen, recipe | {"passes": 2}, 0)
    assert len(made) == 3  # two crops of the training clips, and the test clips
    crops = [frozen.features("train", "probe", draw) for draw in (0, 1)]
    assert len(made) == 3
    assert not torch.equal(crops[0].x, crops[1].x)
    test = frozen.features("test", "test")
    turns = linear_probe(lambda epoch: crops[epoch % 2], test, classes=frozen.data.classes, recipe=recipe, seed=0)
    assert torch.equal(few.logits, turns.logits)
    new = linear(frozen, recipe | {"passes": 5}, 0)
    assert len(made) == 3 + 3  # of a pass for each epoch the first two are there, and no other is kept
    assert len(frozen.cache) == 3
    assert not torch.equal(new.logits, few.logits)
