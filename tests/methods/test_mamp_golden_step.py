"""One whole MAMP step of the parts, against the reference's: mask, prediction, loss and gradients."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor

from skelssl.encoders.decoder import Decoder
from skelssl.encoders.decoder import from_reference as decoder_from_reference
from skelssl.encoders.transformer import Transformer, from_reference
from skelssl.losses.masked_prediction import MaskedPrediction
from skelssl.maskers.motion_gumbel import MotionGumbelMask

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif("SKELSSL_SHARED" not in os.environ, reason="SKELSSL_SHARED is not set"),
]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    path = Path(os.environ["SKELSSL_SHARED"]) / "spec" / "golden_steps.json"
    step: dict[str, Any] = json.loads(path.read_text("utf-8"))["mamp"]
    return step


def clip(count: int, frames: int) -> Tensor:
    sizes = (count, 3, frames, 25, 2)
    n, c, t, v, m = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in sizes), indexing="ij")
    wave = 0.5 * torch.sin(0.37 * n + 0.9 * c + (0.11 + 0.002 * v) * t + 0.23 * v + 0.5 * m)
    return wave + 0.05 * torch.cos(0.7 * v + 0.3 * t * (1 + 0.1 * n))


def noise(rows: int, tokens: int) -> Tensor:
    r, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (rows, tokens)), indexing="ij")
    return (torch.sin(12.9898 * (i + 1) + 78.233 * (r + 1)) * 43758.5453) % 1


def weight(name: str, shape: list[int]) -> Tensor:
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    phase = crc32(name.encode()) % 1000 / 100
    if len(shape) == 1:
        return float(name.endswith("weight")) + 0.08 * torch.sin(0.19 * k + phase)
    wave = torch.sin(1.3 * k + 0.2 * torch.sin(0.02 * k) + phase)
    return (1.2 / math.sqrt(len(k) / shape[0]) * wave).view(shape)


def test_the_step_is_the_reference_s(golden: dict[str, Any]) -> None:
    state = {name: weight(name, shape) for name, shape in dict(golden["params"]).items()}
    encoder, masking = Transformer().double(), MotionGumbelMask()
    decoder = Decoder(grid=encoder.grid, width_in=256, out=12).double()
    ours = {name: p for name, p in state.items() if "decoder" not in name and name != "mask_token"}
    encoder.load_state_dict(from_reference(ours))
    decoder.load_state_dict(decoder_from_reference(state))

    x = clip(2, 120)
    mask = masking(x, noise=noise(4, 750))
    for person in (0, 3):
        assert mask.visible[person].sort().values.tolist() == golden[f"kept_person{person}"]

    tokens = encoder.encode(encoder.embed(x, mask.visible))
    everywhere = decoder.head(decoder.norm(decoder.states(tokens, mask.visible, mask.hidden)))
    assert everywhere.sum().item() == pytest.approx(golden["pred_sum"], rel=1e-9)
    assert everywhere.abs().sum().item() == pytest.approx(golden["pred_abs"], rel=1e-9)

    criterion = MaskedPrediction()
    loss = criterion(decoder(tokens, mask.visible, mask.hidden), criterion.targets(x, 4, mask.hidden))
    assert loss.item() == pytest.approx(golden["loss"], rel=1e-9)
    loss.backward()
    parts = dict(encoder.named_parameters()), dict(decoder.named_parameters())
    places = {
        "joints_embed.proj.weight": (0, "patch_embed.weight"),
        "pos_embed": (0, "positions.space"),
        "temp_embed": (0, "positions.time"),
        "mask_token": (1, "mask_token"),
        "decoder_blocks.0.attn.qkv.weight": (1, "blocks.0.attn.qkv.weight"),
        "decoder_pred.weight": (1, "head.weight"),
    }
    found = {}
    for name in golden["grad_norm"]:
        part, own = places.get(name, (0, name))
        found[name] = parts[part][own].grad.norm().item()
    assert found == pytest.approx(golden["grad_norm"], rel=1e-6)
