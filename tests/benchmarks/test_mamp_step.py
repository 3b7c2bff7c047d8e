"""The benchmark at toy size: both forms agree, in value and gradient, and every figure is there."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from benchmarks.mamp_step import Model, make_clips, our_loss, step_by_parts, training_step
from skelssl.maskers.motion_gumbel import MotionGumbelMask

ROOT = Path(__file__).parents[2]


def test_benchmark_reports_both_forms(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    sizes = ["--batch", "1", "--depth", "1", "--decoder-depth", "1", "--steps", "1", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.mamp_step", *sizes, "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(target.read_text())
    naive, ours = result["losses"]
    assert ours == pytest.approx(naive, rel=1e-12)
    assert list(result["seconds"]) == ["encoder, forward and backward", "whole step"]
    assert all(second > 0 for pair in result["seconds"].values() for second in pair)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["part", *result["seconds"]]


def test_alone_the_parts_add_up_and_the_flops_are_the_formulas(tmp_path: Path) -> None:
    """Products of a block: 24·C²·L + 4·L²·C forward (the spec's count), three times that with the backward pass."""
    target = tmp_path / "result.json"
    sizes = ["--batch", "1", "--depth", "1", "--decoder-depth", "1", "--steps", "1", "--threads", "1", "--alone"]
    command = [sys.executable, "-m", "benchmarks.mamp_step", *sizes, "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(target.read_text())
    parts = result["parts"]
    assert list(parts) == ["mask", "encoder", "decoder", "loss", "optimiser"]
    assert 0.9 < sum(part["seconds"] for part in parts.values()) / result["step_seconds"] <= 1
    persons, c = 2, 256
    block = lambda tokens: 24 * c * c * tokens + 4 * tokens * tokens * c  # noqa: E731
    assert parts["encoder"]["flops"] == pytest.approx(3 * persons * block(74), rel=0.05)
    assert parts["decoder"]["flops"] == pytest.approx(3 * persons * block(750), rel=0.15)
    assert parts["mask"]["flops"] == parts["optimiser"]["flops"] == 0
    assert result["flops_per_second_of_a_product"] > 1e8
    assert result["peak_memory_mb"] > 100
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[:-1]] == ["part", *parts, "whole step"]


def test_a_step_by_parts_is_a_step() -> None:
    """The same weights after a step that is cut between its parts as after one that is not."""
    torch.manual_seed(0)
    model, x = Model(1, 1), make_clips(1)
    mask = MotionGumbelMask()(x, torch.Generator().manual_seed(0))
    pair = model, copy.deepcopy(model)
    whole, cut = (torch.optim.SGD(one.parameters(), lr=0.1) for one in pair)
    training_step(pair[0], our_loss, whole, x, mask)
    step_by_parts(pair[1], cut, x, torch.Generator().manual_seed(0), lambda name: nullcontext())
    for one, other in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        assert torch.equal(one, other)
