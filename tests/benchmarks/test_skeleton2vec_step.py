"""The benchmark at toy size: both forms agree, in value, gradient and teacher, and every figure is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
