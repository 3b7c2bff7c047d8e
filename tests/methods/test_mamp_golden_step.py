"""One whole MAMP step of the parts, against the reference's: mask, prediction, loss and gradients."""

from __future__ import annotations

from typing import Any

import pytest

from skelssl.encoders.decoder import Decoder, decoder_from_mamp_names
from skelssl.encoders.transformer import Transformer, from_mamp_names
from skelssl.losses.masked_prediction import MaskedPrediction
from skelssl.maskers.motion_gumbel import MotionGumbelMask
from tests.helpers.golden import clip, golden_step, noise, weight


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return golden_step("mamp")


def test_the_step_is_the_reference_s(golden: dict[str, Any]) -> None:
    state = {name: weight(name, shape) for name, shape in dict(golden["params"]).items()}
    encoder, masking = Transformer().double(), MotionGumbelMask()
    decoder = Decoder(grid=encoder.grid, width_in=256, out=12).double()
    ours = {name: p for name, p in state.items() if "decoder" not in name and name != "mask_token"}
    encoder.load_state_dict(from_mamp_names(ours))
    decoder.load_state_dict(decoder_from_mamp_names(state))

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
