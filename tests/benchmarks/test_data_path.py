"""The data benchmark at toy size: the loop form agrees, and every stage has its figure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from skelssl.data.recipes import RECIPES
from skelssl.data.synthetic import Synthetic
from tests.helpers.ntu_text import format_skeleton

ROOT = Path(__file__).parents[2]


def test_every_stage_is_measured(tmp_path: Path) -> None:
    raw, target = tmp_path / "raw", tmp_path / "result.json"
    raw.mkdir()
    source = Synthetic(classes=2, subjects=3)
    for subject, camera in ((1, 1), (1, 2), (3, 3)):
        clip = source.clip(0, subject, camera)
        (raw / f"{clip.name}.skeleton").write_bytes(format_skeleton(clip))
    command = [sys.executable, "-m", "benchmarks.data_path", str(raw), "--files", "8", "--out", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(target.read_text())
    assert facts["files"] == 8
    assert set(facts["recipe_ms"]) == {*RECIPES, "agcn, 300 frames", "agcn, loop form"}
    assert set(facts["derive"]) == set(RECIPES)
    assert "extrapolated to NTU-120" in done.stdout
