"""The benchmark at small size: equal features, and a training step in less than half of the time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_whole_sequences_equal_stepping_and_take_less_than_half_of_its_time(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    sizes = ["--batch", "4", "--hidden", "16", "--steps", "7", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.gru_step", *sizes, "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(target.read_text())
    assert result["difference"] <= 1e-6
    assert list(result["seconds"]) == ["forward", "forward and backward"]
    naive, ours = result["seconds"]["forward and backward"]
    assert naive > 2 * ours > 0
    lines = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert lines[:-1] == ["part", *result["seconds"]]
    assert lines[-1].startswith("largest difference of the features: ")
