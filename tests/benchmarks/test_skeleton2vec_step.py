"""The benchmark at toy size: both forms agree, in value, gradient and teacher, and every figure is there."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from benchmarks.parts import counter
from benchmarks.skeleton2vec_step import Model, make_clips, our_loss, step_by_parts, training_step
from skelssl.maskers.motion_tube import MotionTubeMask

ROOT = Path(__file__).parents[2]


def test_benchmark_reports_both_forms(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    sizes = ["--batch", "2", "--depth", "1", "--decoder-depth", "1", "--steps", "1", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.skeleton2vec_step", *sizes, "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(target.read_text())
    naive, ours = result["losses"]
    assert ours == pytest.approx(naive, rel=1e-12)
    whole, *parts = result["seconds"].values()
    assert [sum(part[i] for part in parts) for i in (0, 1)] == pytest.approx(whole)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["part", *result["seconds"]]


def test_a_step_by_parts_is_a_step() -> None:
    """The same weights, teacher included, after a step that is cut between its parts as after one that is not."""
    torch.manual_seed(0)
    model, x = Model(1, 1), make_clips(2, single=0.5)
    mask = MotionTubeMask()(x, torch.Generator().manual_seed(0))
    pair = model, copy.deepcopy(model)
    whole, cut = (torch.optim.SGD([p for p in one.parameters() if p.requires_grad], lr=0.1) for one in pair)
    training_step(pair[0], our_loss, whole, x, mask)
    flops: dict[str, float] = defaultdict(float)
    step_by_parts(pair[1], cut, x, torch.Generator().manual_seed(0), counter(flops))
    for one, other in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        assert torch.equal(one, other)
    assert list(flops) == ["mask", "student", "decoder", "teacher", "loss", "figures", "optimiser", "average"]
    block = 24 * 256 * 256 * 750 + 4 * 750 * 750 * 256
    assert flops["teacher"] == pytest.approx(4 * block, rel=0.05)  # three persons, and one absent for the other
