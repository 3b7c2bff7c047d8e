"""One whole training step of skeleton-contrast against the reference's: losses, logits, gradients, queues."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skelssl.data.batch import Batch
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.gru import GRU
from skelssl.encoders.representations import MODULES
from skelssl.heads import ContrastHead
from skelssl.losses.info_nce import InfoNCE, contrast_logits, unit
from skelssl.methods.skeleton_contrast import SkeletonContrast
from skelssl.momentum import Queue
from tests.helpers.golden import clip, golden_step, weight

PLACES = {"encoder_q": ("seq", "query"), "encoder_r": ("graph", "query"), "encoder_k": ("seq", "key"),
          "encoder_l": ("graph", "key")}  # fmt: skip


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return golden_step("skeleton_contrast")


class TwoViews(nn.Module):
    """View 1, then view 2, whatever the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.views = [clip(4, 64, s=s) for s in (0.0, 0.7)]
        self.calls = 0

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        self.calls += 1
        return self.views[(self.calls - 1) % 2]


def branch(method: SkeletonContrast, prefix: str) -> nn.Module:
    name, role = PLACES[prefix]
    found: nn.Module = method.query[name] if role == "query" else method.key[name].module
    return found


def our_names(prefix: str, names: list[str]) -> dict[str, str]:
    """The reference's parameter name -> that of the branch."""
    module = MODULES[PLACES[prefix][0]]
    renamed = {}
    for name in names:
        if name.startswith("fc."):
            renamed[name] = f"head.{name}"
        else:
            ((ours, _),) = module.from_reference({name: torch.empty(0)}).items()
            renamed[name] = f"encoder.{ours}"
    return renamed


@pytest.fixture
def method(golden: dict[str, Any]) -> SkeletonContrast:
    view = TwoViews()
    method = SkeletonContrast(
        mode="inter", pair=["seq", "graph"], view={"pretrain": view, "test": view},
        encoder={"seq": partial(GRU, hidden=16), "graph": AGCN}, head=ContrastHead, loss=InfoNCE(temperature=0.07),
        teacher={"momentum": 0.999}, queue=partial(Queue, 64), optim={"name": "sgd", "lr": 0.01, "epochs": 1}, seed=0,
    ).double()  # fmt: skip
    for prefix, source in zip(PLACES, ("encoder_q", "encoder_r") * 2, strict=True):
        shapes = {k.removeprefix(f"{source}."): s for k, s in golden["params"].items() if k.startswith(f"{source}.")}
        parameters = dict(branch(method, prefix).named_parameters())
        names = our_names(prefix, [*shapes])
        assert sorted(names.values()) == sorted(parameters)
        for name, shape in shapes.items():
            parameters[names[name]].data.copy_(weight(f"{prefix}.{name}", shape))
    for name, s in (("seq", 0.3), ("graph", 0.8)):
        method.queue[name].keys.copy_(unit(clip(128, 8, 8, 1, s)[:, 0].reshape(128, 64).T))
    method._step = 0
    return method


def test_the_step_is_the_reference_s(method: SkeletonContrast, golden: dict[str, Any]) -> None:
    index = torch.arange(4)
    loss = method.training_step(Batch(torch.empty(4), index, index, index), 0)
    found = [float(method._sums[f"{name}_loss"]) / 4 for name in ("seq", "graph")]
    assert found == pytest.approx(golden["losses"], rel=1e-6)
    assert float(loss.detach()) == pytest.approx(sum(golden["losses"]), rel=1e-6)

    sums = []
    for own, other in (("seq", "graph"), ("graph", "seq")):
        query = method.query[own](method.view.views[0]).detach()
        logits = contrast_logits(query, method.fresh[other], method.queue[other].keys, 0.07)
        sums.append(float(logits.abs().sum()))
    assert sums == pytest.approx(golden["logits_abs"], rel=1e-6)

    loss.backward()
    norms = {}
    for name in golden["grad_norm"]:
        prefix, _, rest = name.partition(".")
        parameter = dict(branch(method, prefix).named_parameters())[our_names(prefix, [rest])[rest]]
        norms[name] = float(parameter.grad.norm())
    assert norms == pytest.approx(golden["grad_norm"], rel=1e-6)

    method.on_after_backward()
    columns = [float(method.queue[name].keys[:4].abs().sum()) for name in ("seq", "graph")]
    assert columns == pytest.approx([golden["queue_abs"][f"Queue_S{i}_first4"] for i in (1, 2)], rel=1e-6)
    assert [int(method.queue[name].pointer) for name in ("seq", "graph")] == golden["ptr"]
