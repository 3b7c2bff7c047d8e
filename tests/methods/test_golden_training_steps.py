"""One training step of every method through Lightning, against numbers that are kept in the repository.

Weights and clips come from formulas, draws from seeds, and everything is float64. The parts of the methods are compared
with the public references in ``test_*_golden_step.py`` and whole steps with naive forms in ``tests/benchmarks``. These
numbers hold the step that users run: loss, gradients, and the state after optimiser, teachers and queues have moved.

``python -m tests.methods.test_golden_training_steps`` prints the numbers of today's code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from skelssl.data.batch import Batch
from skelssl.methods.base import Method
from skelssl.methods.build import build_method
from skelssl.training.trainer import PRECISION
from tests.helpers.config import train_config
from tests.helpers.golden import clip, weight

GOLDEN = Path(__file__).with_name("golden") / "training_steps.json"
METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm")
N, FRAMES = 6, 60


class Gradients(L.Callback):
    """Keep the gradients that the optimiser is about to use."""

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.norms = {name: p.grad.norm().item() for name, p in module.named_parameters() if p.grad is not None}


def built(name: str) -> Method:
    """The method at smoke-test size, every parameter by formula, no dropout: its numbers are those of a version."""
    method = build_method(train_config(Path("data"), f"method={name}", "precision=fp64")).double()
    for part in method.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    with torch.no_grad():
        for key, parameter in method.named_parameters():
            parameter.copy_(weight(key, parameter.shape))
    return method


def batch() -> Batch:
    rows = torch.arange(N)
    x = clip(N, FRAMES)
    x[1::2, ..., 1] = 0  # every second clip has one person
    return Batch(x=x, frames=FRAMES - 3 * rows, label=rows, index=rows)


def one_step(name: str) -> dict[str, Any]:
    """Loss, two gradient norms, and norms of the state after the step."""
    method, gradients = built(name), Gradients()
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", **PRECISION["fp64"], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[gradients],
    )  # fmt: skip
    trainer.fit(method, DataLoader([batch()], batch_size=None))  # type: ignore[arg-type]
    names = sorted(gradients.norms)
    trained = [names[0], names[-1]]
    state = {key: value.double().norm().item() for key, value in method.state_dict().items()}
    beside = [key for key in state if key.startswith(("queue.", "key.", "teacher.")) and state[key] > 0]
    kept = [*trained, *(key for key in beside if key.endswith((".keys", "norm.bias", "updates", "pointer")))]
    return {
        "loss": trainer.callback_metrics["train/loss"].item(),
        "gradient_norms": {key: gradients.norms[key] for key in trained},
        "all_gradients": sum(norm**2 for norm in gradients.norms.values()) ** 0.5,
        "after_step": {key: state[key] for key in dict.fromkeys(kept)},
        "whole_state": sum(state.values()),
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_training_step_is_the_one_on_record(name: str) -> None:
    found, kept = one_step(name), json.loads(GOLDEN.read_text("utf-8"))[name]
    assert found.keys() == kept.keys()
    for key, expected in kept.items():
        assert found[key] == pytest.approx(expected, rel=1e-6), key


if __name__ == "__main__":
    json.dump({name: one_step(name) for name in METHODS}, sys.stdout, indent=1)
