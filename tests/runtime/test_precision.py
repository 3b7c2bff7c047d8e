"""``precision=bf16``: wide products run in bfloat16, and what the papers' arithmetic cannot bear in it does not.

The islands part by part: tests/encoders/test_poincare.py, tests/maskers/test_hyperbolic.py, tests/losses. Here: whole
runs.
"""

from contextlib import contextmanager

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skelssl.data.store import RecipeStore
from skelssl.training.loop import train
from tests.helpers.config import train_config

# Functions whose results decide about masks, targets and losses: nothing inside them may be half as precise.
ISLANDS = {
    "pstl": ["skelssl.losses.barlow_twins.correlate"],
    "skeleton_contrast": ["skelssl.losses.info_nce.contrast_logits"],
    "mamp": ["skelssl.maskers.motion_gumbel.gumbel_keys", "skelssl.losses.masked_prediction.normalise_tokens"],
    "ha_cm": ["skelssl.maskers.hyperbolic.attention_scores", "skelssl.maskers.hyperbolic.hierarchy_scores",
              "skelssl.maskers.hyperbolic.gumbel_keys", "skelssl.encoders.poincare._length",
              "skelssl.losses.cross_contrast.match_loss", "skelssl.losses.masked_prediction.normalise_tokens"],
    "skeleton2vec": ["skelssl.losses.contextual.layer_norm", "skelssl.losses.contextual.masked_mse",
                     "skelssl.losses.collapse.moments"],
}  # fmt: skip


class Seen(TorchDispatchMode):
    """Which floating-point types operations give."""

    def __init__(self):
        super().__init__()
        self.dtypes = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.dtypes.setdefault(leaf.dtype, set()).add(func.overloadpacket.__name__)
        return out


class Losses(L.Callback):
    def __init__(self):
        self.found = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.found.append(outputs["loss"])


def run(data_root, folder, method, *overrides):
    off = ["callbacks.probe=null", "callbacks.masks=null", "method.optim.lr=1e-4"]
    if method == "pstl":
        off.append("method.encoder.dropout=0")  # its masks are other ones in each precision
    losses = Losses()
    train(train_config(data_root, f"method={method}", *off, *overrides), folder, [losses])
    return losses.found


@contextmanager
def watched(monkeypatch, names):
    seen = {}
    for name in names:
        module, function = name.rsplit(".", 1)
        real = getattr(__import__(module, fromlist=[function]), function)

        def spy(*args, _real=real, _name=name, **kwargs):
            with Seen() as inside:
                out = _real(*args, **kwargs)
            seen.setdefault(_name, {}).update(inside.dtypes)
            return out

        monkeypatch.setattr(name, spy)
    yield seen


@pytest.mark.parametrize("method", ISLANDS)
def test_a_run_in_bfloat16_keeps_its_islands(data_root, tmp_path, monkeypatch, method):
    plain = run(data_root, tmp_path / "fp32", method)
    with watched(monkeypatch, ISLANDS[method]) as seen:
        half = run(data_root, tmp_path / "bf16", method, "precision=bf16")
    assert seen.keys() == set(ISLANDS[method])
    for name, dtypes in seen.items():
        assert {torch.float32, torch.float64} >= dtypes.keys(), (name, dtypes.get(torch.bfloat16))
    assert all(loss.dtype == torch.float32 for loss in half)
    torch.testing.assert_close(torch.stack(half), torch.stack(plain), rtol=0.05, atol=0)
    assert not torch.equal(torch.stack(half), torch.stack(plain))  # something was computed in bfloat16
    state = torch.load(tmp_path / "bf16" / "checkpoints" / "last.ckpt", weights_only=True)
    kept = [*state["state_dict"].values(), *tree_leaves(state["optimizer_states"])]  # teachers and queues among them
    assert {t.dtype for t in kept if isinstance(t, Tensor) and t.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("method", ISLANDS)
def test_clips_a_thousand_times_as_large_stay_finite(data_root, tmp_path, monkeypatch, method):
    """Millimetres in the place of metres: the loss means little, but nothing overflows."""
    real = RecipeStore.gather

    def large(self, *args, **kwargs):
        batch = real(self, *args, **kwargs)
        batch.x.mul_(1000)
        return batch

    monkeypatch.setattr(RecipeStore, "gather", large)
    assert all(loss.isfinite() for loss in run(data_root, tmp_path, method, "precision=bf16"))
