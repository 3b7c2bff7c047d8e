"""Files that HA-CM's code base writes: 25-joint clips in, the pooled feature out, whatever else lies beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import skelssl
from skelssl.core.errors import UserError
from skelssl.encoders.transformer import Transformer
from skelssl.methods.build import build_method
from skelssl.pretrained.files import save_encoders
from tests.helpers.config import compose
from tests.pretrained.test_foreign_mamp import HEAD, State, theirs

PRETRAINING = {
    **{f"{part}.{kind}": torch.ones(256, 256) for part in ("l1", "l2", "decoder_fc_t") for kind in ("weight", "bias")},
    **{f"mask_token{kind}": torch.ones(1, 1, 256) for kind in ("", "_t", "_s")},
    "decoder_embed_s.weight": torch.ones(256, 256),
    "decoder_pos_embed": torch.ones(1, 1, 18, 256),
    "decoder_blocks.0.norm1.bias": torch.ones(256),
}


@pytest.fixture(scope="module")
def encoder() -> Transformer:
    torch.manual_seed(5)
    return Transformer(frames=72, patch=3, joints="outer", curvature=1.0, depth=2).eval()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"model": {**s, **PRETRAINING}, "optimizer": {"state": {}}, "epoch": 399},
        lambda s: {"model": {f"module.{name}": value for name, value in {**s, **HEAD}.items()}},
    ],
    ids=["bare", "pre-training", "module with head"],
)
def test_every_kind_of_file(encoder: Transformer, tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    torch.save(wrap(theirs(encoder)), tmp_path / "ha_cm.pth")
    loaded = skelssl.load_encoder(tmp_path / "ha_cm.pth", source="ha_cm", depth=2)
    x = torch.randn(2, 3, 72, 25, 2)
    with torch.no_grad():
        assert torch.equal(loaded(x), encoder(x))
        torch.testing.assert_close(loaded(x), encoder.tokens(x).mean((1, 2, 3)))
    assert loaded.tokens(x).shape == (2, 2, 24, 18, 256)
    assert not loaded.training
    assert loaded.recipe["name"] == "ctrgcn"
    assert loaded.view["test"].frames == 72


def test_a_file_of_the_other_size(tmp_path: Path) -> None:
    """25 joints and 120 frames, as some of the public configurations have it: overrides name it, the views follow."""
    size = {"joints": "all", "frames": 120, "patch": 4, "depth": 1}
    whole = Transformer(**size, curvature=1.0).eval()
    torch.save(theirs(whole), tmp_path / "whole.pth")
    loaded, x = skelssl.load_encoder(tmp_path / "whole.pth", source="ha_cm", **size), torch.randn(1, 3, 120, 25, 2)
    with torch.no_grad():
        assert torch.equal(loaded(x), whole(x))
    assert [loaded.view[name].frames for name in ("probe", "test")] == [120, 120]


def test_a_file_of_mamp_is_named_as_such(tmp_path: Path) -> None:
    torch.save(theirs(Transformer(depth=2)), tmp_path / "mamp.pth")
    with pytest.raises(UserError, match=r"patch_embed\.weight: found shape \(256, 12\), expected shape \(256, 9\)"):
        skelssl.load_encoder(tmp_path / "mamp.pth", source="ha_cm", depth=2)


def test_own_runs_round_trip(tmp_path: Path) -> None:
    config = compose("train", "method=ha_cm", "debug=smoke")
    method = build_method(config)
    save_encoders(method.encoders(), tmp_path / "encoder", config, "abc")
    loaded, x = skelssl.load_encoder(tmp_path), torch.randn(2, 3, 12, 25, 2)
    with torch.no_grad():
        assert torch.equal(loaded(x), method.encoder.eval()(x))
    assert (loaded.joints, loaded.curvature) == (method.encoder.joints, 1.0)
