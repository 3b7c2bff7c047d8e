"""No step makes the host wait for the device: neither the methods' own parts nor what runs around them."""

from contextlib import ExitStack

import lightning as L
import pytest
import torch

from skelssl.maskers import hyperbolic, tokens
from skelssl.training.loop import train
from tests.helpers.config import train_config
from tests.helpers.waits import Waited, no_waits

METHODS = {
    "pstl": [], "pstl motion": ["stream=motion", "method.view.pretrain.granularity=sample"], "skeleton_contrast": [],
    "skeleton_contrast image": ["method.pair=[seq,image]", "stream=bone"], "mamp": [], "ha_cm": [],
    "skeleton2vec": ["method.loss.share_absent=false", "method.masks=2"],
}  # fmt: skip


class Guard(L.Callback):
    """From the moment a batch is there until the optimiser's step and all callbacks are done."""

    def __init__(self) -> None:
        self.stack, self.steps = ExitStack(), 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        there = [*module.parameters(), *module.buffers(), batch.x, batch.frames, batch.label, batch.index]
        self.stack.enter_context(no_waits(*there))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.stack.close()
        self.steps += 1

    def on_exception(self, trainer, module, exception):
        self.stack.close()


def guarded(data_root, folder, monkeypatch, *overrides):
    # These look at the values of clips on a CPU alone, as their docstring says.
    for module in (tokens, hyperbolic):
        monkeypatch.setattr(module, "check_finite", lambda x: None)
    guard = Guard()
    off = ["callbacks.probe=null", "callbacks.masks=null"]
    with guard.stack:
        train(train_config(data_root, *overrides, *off), folder, [guard])
    return guard


@pytest.mark.parametrize("case", METHODS)
def test_no_step_waits(data_root, tmp_path, monkeypatch, case):
    guard = guarded(data_root, tmp_path, monkeypatch, f"method={case.split()[0]}", *METHODS[case])
    assert guard.steps == 2


def test_the_teacher_waits_for_the_number_of_absent_persons(data_root, tmp_path, monkeypatch):
    """The one wait that is left: it saves the teacher two fifths of its work, and ``share_absent=false`` avoids it."""
    with pytest.raises(Waited, match=r"nonzero.* of a tensor on the device"):
        guarded(data_root, tmp_path, monkeypatch, "method=skeleton2vec")


@pytest.mark.parametrize(
    "read",
    [lambda x: x.sum().item(), lambda x: bool((x > 0).any()), lambda x: x[x > 0], lambda x: (2 * x).tolist(),
     lambda x: x.cpu(), lambda x: float(x[0]), lambda x: torch.unique(x), lambda x: [0, 1][(x[0] > 0).long()],
     lambda x: x.view(2, 2).add_(torch.rand(2)).masked_select(x.view(2, 2) > 0)],
)  # fmt: skip
def test_the_guard_sees_what_waits(read):
    x = torch.arange(4.0)
    with pytest.raises(Waited), no_waits(x):
        read(x)
    with no_waits(x):  # what stays on the host may be read
        other = torch.randperm(4)
        assert sorted(other.tolist()) == [0, 1, 2, 3]
        assert x[other].shape == (4,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", METHODS)
def test_no_step_waits_on_a_gpu(data_root, tmp_path, case):
    class Strict(L.Callback):
        def on_train_batch_start(self, *args):
            torch.cuda.set_sync_debug_mode("error")

        def on_train_batch_end(self, *args):
            torch.cuda.set_sync_debug_mode("default")

    off = ["callbacks.probe=null", "callbacks.masks=null", "trainer.accelerator=gpu", "method.loader.resident=true"]
    config = train_config(data_root, f"method={case.split()[0]}", *METHODS[case], *off)
    try:
        train(config, tmp_path, [Strict()])
    finally:
        torch.cuda.set_sync_debug_mode("default")
