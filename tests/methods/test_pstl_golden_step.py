"""One whole PSTL step of the parts, against the reference's: features, losses, gradients, Adam, statistics."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor, nn

from skelssl.encoders.stgcn import STGCN
from skelssl.heads import Projector
from skelssl.losses.barlow_twins import BarlowTwins
from skelssl.skeleton import layout

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif("SKELSSL_SHARED" not in os.environ, reason="SKELSSL_SHARED is not set"),
]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    path = Path(os.environ["SKELSSL_SHARED"]) / "spec" / "golden_steps.json"
    step: dict[str, Any] = json.loads(path.read_text("utf-8"))["pstl"]
    return step


def clip(frames: int, s: float) -> Tensor:
    sizes = (8, 3, frames, 25, 2)
    n, c, t, v, m = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in sizes), indexing="ij")
    wave = 0.5 * torch.sin(0.37 * n + 0.9 * c + (0.11 + 0.002 * v) * t + 0.23 * v + 0.5 * m + s)
    return wave + 0.05 * torch.cos(0.7 * v + 0.3 * t * (1 + 0.1 * n))


@torch.no_grad()
def fill(parameter: Tensor, name: str) -> None:
    k = torch.arange(parameter.numel(), dtype=torch.float64)
    phase = crc32(name.encode()) % 1000 / 100
    if parameter.ndim == 1:
        values = float(name.endswith("weight")) + 0.08 * torch.sin(0.19 * k + phase)
    else:
        wave = torch.sin(1.3 * k + 0.2 * torch.sin(0.02 * k) + phase)
        values = float("edge_importance" in name) + 1.2 / math.sqrt(parameter.numel() / len(parameter)) * wave
    parameter.copy_(values.view_as(parameter))


@pytest.fixture
def model(golden: dict[str, Any]) -> nn.ModuleDict:
    model = nn.ModuleDict({"encoder": STGCN(dropout=0.0), "head": Projector(in_dim=256, dim=64)}).double()
    model["encoder"].A.copy_(torch.from_numpy(layout("ntu25").adjacency()))
    assert {name: list(p.shape) for name, p in model.named_parameters()} == dict(golden["params"])
    for name, parameter in model.named_parameters():
        fill(parameter, name)
    return model


def test_the_step_is_the_reference_s(model: nn.ModuleDict, golden: dict[str, Any]) -> None:
    encoder, head = model["encoder"], model["head"]
    anchor, temporal = encoder(clip(50, 0.0)), encoder(clip(30, 0.4))
    spatial = encoder(clip(50, 0.9), ignore=[20, 0, 7, 11, 24, 2])
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
