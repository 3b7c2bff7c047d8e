"""The benchmark at toy size: cached equals uncached bit for bit, and a difference of one bit is seen."""

from __future__ import annotations

import pytest
import torch

from benchmarks import linear_eval
from benchmarks.naive.linear_eval import linear_evaluation
from benchmarks.suite import Disagreement
from skelssl.encoders.gru import GRU
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from tests.benchmarks.conftest import Run


def test_benchmark_reports_both_forms(small: Run) -> None:
    found = small.result["linear"]
    seconds = found["seconds"]
    assert all(value > 0 for value in seconds.values())
    assert seconds["ours"] == pytest.approx(seconds["features"] + seconds["probe"])
    assert seconds["straightforward"] == pytest.approx(found["epochs"] * seconds["straightforward_epoch"])
    assert found["straightforward_epochs"] < found["epochs"]


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
        cached = [linear_eval.features(encoder, clips, 4) for clips in (train, test)]
        ours = linear_eval.probe(*cached, 4, 4)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(ours.logits, naive.logits)
    assert ours.logits.std(0).max() > 0
    linear_eval.check_agreement(ours, naive)
    with pytest.raises(Disagreement, match="logits differ by up to"):
        linear_eval.check_agreement(ours, naive._replace(logits=naive.logits.nextafter(torch.tensor(9.0))))
