"""One whole HA-CM step in the reference's token order: what stays, features, predictions, losses, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from skelssl.data.batch import Batch
from skelssl.encoders.decoder import decoder_from_mamp_names
from skelssl.encoders.transformer import from_mamp_names
from skelssl.methods.build import build_method
from skelssl.methods.ha_cm import HACM
from tests.helpers.config import compose
from tests.helpers.golden import clip, golden_step, noise, weight

OURS = {
    "joints_embed.proj.weight": "encoder.patch_embed.weight",
    "pos_embed": "encoder.positions.space",
    "temp_embed": "encoder.positions.time",
    "mask_token_t": "decoder.mask_token",
    "decoder_blocks.0.attn.qkv.weight": "decoder.blocks.0.attn.qkv.weight",
    "decoder_pred.weight": "decoder.head.weight",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return golden_step("ha_cm")


@pytest.fixture(scope="module")
def method(golden: dict[str, Any]) -> HACM:
    method = build_method(compose("train", "experiment=ha_cm_reference")).double()
    assert isinstance(method, HACM)
    state = {name: weight(name, shape) for name, shape in dict(golden["params"]).items()}
    own = {k: v for k, v in state.items() if "decoder" not in k and k[:3] not in ("l1.", "l2.", "mas")}
    method.encoder.load_state_dict(from_mamp_names(own))
    method.decoder.load_state_dict(decoder_from_mamp_names({**state, "mask_token": state["mask_token_t"]}))
    method.masking.load_state_dict({k: state[k] for k in state if k[:3] in ("l1.", "l2.")})
    return method


def test_the_step_is_the_reference_s(method: HACM, golden: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x, draws = clip(2, 72), (noise(4, 216), noise(4, 216, draw=1))
    encoder, decoder = method.encoder, method.decoder
    mask = method.masking(encoder, x, noise=draws)
    for person in (0, 3):
        attention, hierarchy = mask.visible[person].split(21)
        found_t = {18 * (2 * (i % 12)) + i // 12 for i in golden[f"kept_T_person{person}"]}
        found_s = {18 * (2 * (i // 18) + 1) + i % 18 for i in golden[f"kept_S_person{person}"]}
        assert (set(attention.tolist()), set(hierarchy.tolist())) == (found_t, found_s)

    tokens = encoder.encode(encoder.embed(x, mask.visible))
    assert tokens.sum().item() == pytest.approx(golden["latent_sum"], rel=1e-9)
    assert tokens.abs().sum().item() == pytest.approx(golden["latent_abs"], rel=1e-9)
    everywhere = decoder.head(decoder.norm(decoder.states(tokens, mask.rows, mask.hidden)))
    assert everywhere.abs().sum().item() == pytest.approx(golden["pred_abs"], rel=1e-9)

    monkeypatch.setattr(method.view, "forward", lambda batch, generator: batch.x)
    monkeypatch.setattr(method.masking, "forward", lambda *_: mask)
    method._step, index = 0, torch.arange(2)
    loss: Tensor = method.training_step(Batch(x, index, index, index), 0)
    found = {name: float(method._sums[name]) / 2 for name in ("loss", "reconstruction", "contrast")}
    expected = {"loss": golden["loss"], "reconstruction": golden["loss_rec"], "contrast": golden["loss_contrast"]}
    assert found == pytest.approx(expected, rel=1e-9)
    loss.backward()
    parameters = dict(method.named_parameters())
    names = {name: OURS.get(name, f"encoder.{name}") for name in golden["grad_norm"]}
    norms = {name: parameters[own].grad.norm().item() for name, own in names.items()}
    assert norms == pytest.approx(golden["grad_norm"], rel=1e-6)


def test_what_never_learns_is_not_there_or_frozen(method: HACM, golden: dict[str, Any]) -> None:
    frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert frozen == {f"masking.{name}" for name in golden["unused"] if name.startswith(("l1", "l2"))}
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
