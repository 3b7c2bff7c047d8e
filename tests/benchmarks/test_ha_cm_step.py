"""The benchmark at toy size: both forms agree, in masks, value and gradient, and every figure is there."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from benchmarks.ha_cm_step import (
    Model,
    check_agreement,
    make_clips,
    make_noise,
    our_loss,
    step_by_parts,
    training_step,
)  # fmt: skip

ROOT = Path(__file__).parents[2]
SIZES = ["--batch", "1", "--depth", "1", "--decoder-depth", "1", "--steps", "1", "--threads", "1"]


def result(tmp_path: Path, *more: str) -> dict:
    target = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.ha_cm_step", *SIZES, *more, "--json", str(target)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(target.read_text())


def test_benchmark_reports_both_forms(tmp_path: Path) -> None:
    found = result(tmp_path)
    naive, ours = found["losses"]
    assert ours == pytest.approx(naive, rel=1e-10)
    assert list(found["seconds"]) == ["scores and masks", "whole step"]
    assert all(second > 0 for pair in found["seconds"].values() for second in pair)


def test_both_forms_agree_beyond_the_edge_of_the_ball() -> None:
    torch.manual_seed(0)
    model, x = Model(1, 1), 20 * make_clips(1)
    assert float(model.encoder.tangent(model.encoder.patches(x)).norm(dim=2).max()) > 7  # 1 - 1e-5 is reached at 6.1
    check_agreement(model, x, make_noise(1))


def test_alone_the_flops_are_the_formulas(tmp_path: Path) -> None:
    parts = result(tmp_path, "--alone")["parts"]
    assert list(parts) == ["scores and masks", "encoder", "decoder", "loss", "optimiser"]
    persons, c = 2, 256
    block = lambda tokens: 24 * c * c * tokens + 4 * tokens * tokens * c  # noqa: E731
    assert parts["encoder"]["flops"] == pytest.approx(3 * persons * block(42), rel=0.05)
    assert parts["decoder"]["flops"] == pytest.approx(3 * persons * block(432), rel=0.2)
    # Two layers on half of 432 tokens, the embedding of all of them and of seven trunk joints: forward only.
    assert parts["scores and masks"]["flops"] == pytest.approx(persons * 2 * 2 * c * c * 216, rel=0.2)


def test_a_step_by_parts_is_a_step() -> None:
    torch.manual_seed(0)
    model, x, noise = Model(1, 1), make_clips(1), make_noise(1)
    pair = model, copy.deepcopy(model)
    whole, cut = (torch.optim.SGD([p for p in one.parameters() if p.requires_grad], lr=0.1) for one in pair)
    training_step(pair[0], our_loss, whole, x, noise)
    step_by_parts(pair[1], cut, x, noise, lambda name: nullcontext())
    for one, other in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
