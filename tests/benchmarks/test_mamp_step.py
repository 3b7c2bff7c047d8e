"""The benchmark at toy size: both forms agree, in value and gradient, and every figure is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
