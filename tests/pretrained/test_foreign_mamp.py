"""Files that MAMP's code base writes: read whatever they wrap, and give the pooled feature."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

import skelssl
from skelssl.core.errors import UserError
from skelssl.encoders.transformer import Transformer
from skelssl.methods.build import build_method
from skelssl.pretrained.files import save_encoders
from tests.helpers.config import compose

State = dict[str, Tensor]


def theirs(encoder: Transformer) -> State:
    """The encoder under the reference's names and shapes."""
    own = encoder.state_dict()
    return {name: value for name, value in own.items() if name.startswith(("blocks.", "norm."))} | {
        "joints_embed.proj.weight": rearrange(own["patch_embed.weight"], "d (l c) -> d c l 1", c=3),
        "joints_embed.proj.bias": own["patch_embed.bias"],
        "temp_embed": own["positions.time"][None, :, None],
        "pos_embed": own["positions.space"][None, None],
    }


@pytest.fixture(scope="module")
def encoder() -> Transformer:
    torch.manual_seed(5)
    return Transformer(depth=2).eval()


PRETRAINING = {
    "mask_token": torch.ones(1, 1, 256),
    "decoder_embed.weight": torch.ones(256, 256),
    "decoder_pos_embed": torch.ones(1, 1, 25, 256),
    "decoder_blocks.0.norm1.bias": torch.ones(256),
}
HEAD = {"head.0.running_mean": torch.ones(256), "head.1.weight": torch.ones(60, 256), "head.fc.bias": torch.ones(60)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"model": s, "epoch": 399, "args": Namespace(lr=1e-3, config="x.yaml")},
        lambda s: {"model": {**s, **PRETRAINING}, "optimizer": {"state": {}}},
        lambda s: {"model": {**s, **HEAD}},
        lambda s: {"model": {f"module.{name}": value for name, value in {**s, **HEAD}.items()}},
    ],
    ids=["bare", "with options", "pre-training", "linear", "module"],
)
def test_every_kind_of_file(encoder: Transformer, tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    torch.save(wrap(theirs(encoder)), tmp_path / "mamp.pth")
    loaded = skelssl.load_encoder(tmp_path / "mamp.pth", source="mamp", depth=2)
    x = torch.randn(2, 3, 120, 25, 2)
    with torch.no_grad():
        assert torch.equal(loaded(x), encoder(x))
        torch.testing.assert_close(loaded(x), encoder.tokens(x).mean((1, 2, 3)))
    assert not loaded.training
    assert loaded.recipe["name"] == "ctrgcn"
    assert loaded.probe["linear"]["lr"] == 0.1
    assert loaded.view["test"].frames == 120


def test_files_that_do_not_fit(encoder: Transformer, tmp_path: Path) -> None:
    state = theirs(encoder)
    torch.save(state, tmp_path / "two.pth")
    with pytest.raises(UserError, match=r"blocks\.2\.norm1\.weight: found no such tensor, expected shape \(256,\)"):
        skelssl.load_encoder(tmp_path / "two.pth", source="mamp")
    with pytest.raises(UserError, match=r"positions\.time: found shape \(30, 256\), expected shape \(15, 256\)"):
        skelssl.load_encoder(tmp_path / "two.pth", source="mamp", depth=2, frames=60)
    torch.save({**state, "fc_extra.weight": torch.ones(2)}, tmp_path / "more.pth")
    with pytest.raises(UserError, match=r"fc_extra\.weight: found shape \(2,\), expected no such tensor"):
        skelssl.load_encoder(tmp_path / "more.pth", source="mamp", depth=2)


def test_own_runs_round_trip(tmp_path: Path) -> None:
    config = compose("train", "method=mamp", "debug=smoke")
    method = build_method(config)
    save_encoders(method.encoders(), tmp_path / "encoder", config, "abc")
    loaded, x = skelssl.load_encoder(tmp_path), torch.randn(2, 3, 12, 25, 2)
    with torch.no_grad():
        assert torch.equal(loaded(x), method.encoder.eval()(x))
    assert loaded.probe["linear"]["passes"] == 100
