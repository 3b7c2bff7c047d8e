"""One whole PSTL step of the parts, against the reference's: features, losses, gradients, Adam, statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from skelssl.encoders.stgcn import STGCN
from skelssl.heads import Projector
from skelssl.losses.barlow_twins import BarlowTwins
from skelssl.skeleton.layout import load_layout
from tests.helpers.golden import clip, golden_step, weight


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return golden_step("pstl")


@pytest.fixture
def model(golden: dict[str, Any]) -> nn.ModuleDict:
    model = nn.ModuleDict({"encoder": STGCN(dropout=0.0), "head": Projector(in_dim=256, dim=64)}).double()
    model["encoder"].A.copy_(torch.from_numpy(load_layout("ntu25").adjacency()))
    assert {name: list(p.shape) for name, p in model.named_parameters()} == dict(golden["params"])
    for name, parameter in model.named_parameters():
        parameter.data.copy_(weight(name, parameter.shape))
    return model


def test_the_step_is_the_reference_s(model: nn.ModuleDict, golden: dict[str, Any]) -> None:
    encoder, head = model["encoder"], model["head"]
    anchor, temporal = encoder(clip(8, 50)), encoder(clip(8, 30, s=0.4))
    spatial = encoder(clip(8, 50, s=0.9), ignore=[20, 0, 7, 11, 24, 2])
    features = torch.cat([anchor, temporal, spatial])
    assert [f.sum().item() for f in features.detach().chunk(3)] == pytest.approx(golden["feature_sums"], rel=1e-9)

    losses = BarlowTwins(lambda_=2e-4)(*head(features, views=3).chunk(3))
    expected = [golden["loss_temporal"], golden["loss_spatial"]]
    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-6)

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-5)
    sum(losses).backward()
    parameters = dict(model.named_parameters())
    norms = {name: parameters[name].grad.norm().item() for name in golden["grad_norm"]}
    assert norms == pytest.approx(golden["grad_norm"], rel=1e-6)

    optimizer.step()
    norms = {name: parameters[name].norm().item() for name in golden["after_adam"]}
    assert norms == pytest.approx(golden["after_adam"], rel=1e-6)
    state = model.state_dict()
    sums = {name: state[f"{name}.running_mean"].sum().item() for name in golden["running_mean_sum"]}
    assert sums == pytest.approx(golden["running_mean_sum"], rel=1e-6)
