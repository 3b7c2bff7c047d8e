"""The benchmark at toy size: cached features give the very bits of the references' loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import linear_eval
from benchmarks.naive.linear_eval import linear_evaluation
from skelssl.encoders.gru import GRU
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer

ROOT = Path(__file__).parents[2]


def test_benchmark_reports_both_forms(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    sizes = {"clips": 8, "test-clips": 4, "epochs": 3, "batch": 4, "hidden": 4, "frames": 6, "threads": 1}
    options = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.linear_eval", *options, "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(target.read_text())
    assert list(result["seconds"]) == ["3 epochs"]
    assert all(second > 0 for second in result["seconds"]["3 epochs"])
    assert result["logits_sum"] != 0
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["part", "3 epochs"]


@pytest.mark.parametrize(
    "encoder",
    [STGCN(hidden=4), Transformer(frames=8, patch=4, hidden=16, depth=1, heads=2), GRU(hidden=8, layers=2)],
    ids=["stgcn", "transformer", "gru"],
)
def test_cached_is_uncached_bit_for_bit(encoder: torch.nn.Module) -> None:
    threads = torch.get_num_threads()
    train, test = (linear_eval.make_clips(n, 8, seed) for n, seed in ((12, 1), (8, 2)))
    arguments = {"classes": 60, "batch": 4, "epochs": 4, "lr": 0.01, "seed": 0}
    try:
        torch.set_num_threads(1)
        naive = linear_evaluation(encoder.eval(), train.x, train.label, test.x, test.label, **arguments, threads=1)
        ours = linear_eval.cached(encoder, train, test, batch=4, epochs=4)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(ours.logits, naive.logits)
    assert ours.logits.std(0).max() > 0
    linear_eval.check_agreement(ours, naive)
    with pytest.raises(SystemExit, match="the forms differ by up to"):
        linear_eval.check_agreement(ours, naive._replace(logits=naive.logits.nextafter(torch.tensor(9.0))))
