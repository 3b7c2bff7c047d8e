"""Input at toy size: both forms show the same clips, and every rate is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import pipeline
from benchmarks.naive.batches import padded
from benchmarks.naive.views import frames_of_one
from benchmarks.suite import FORMS, METHODS, Case, Disagreement, Options
from skelssl.views.uniform import uniform_frames
from tests.benchmarks.conftest import Run


def test_every_method_has_its_rates(small: Run) -> None:
    assert set(small.result["data"]) == set(METHODS)
    for found in small.result["data"].values():
        assert min(*found["clips_per_second"].values(), found["read_only"]) > 0
        assert found["frames"] >= 50


def test_other_clips_are_a_disagreement(tmp_path: Path) -> None:
    case = Case("mamp", Options(small=True), tmp_path)
    forms = {form: case.form(form) for form in FORMS}
    pipeline.check_agreement("mamp", forms, case.rows)
    forms["ours"].method.view.rotation = 0.31
    with pytest.raises(Disagreement, match="data of mamp: clips differ"):
        pipeline.check_agreement("mamp", forms, case.rows)


def test_padded_clips_are_the_store_s(tmp_path: Path) -> None:
    case = Case("mamp", Options(small=True, batch=6), tmp_path)
    ours, naive = case.store.gather(case.rows), padded(case.store, case.rows)
    assert naive.x.shape[2] == 300
    assert torch.equal(naive.x[:, :, : ours.x.shape[2]], ours.x)
    assert not naive.x[:, :, ours.x.shape[2] :].any()
    for key in ("frames", "label", "index"):
        assert torch.equal(getattr(ours, key), getattr(naive, key))


@pytest.mark.parametrize("n", [1, 5, 11, 12, 17, 23, 24, 25, 100])
def test_frames_one_by_one(n: int) -> None:
    draw = np.random.default_rng(n)
    for _ in range(20):
        phase, noise = draw.random(), draw.random(13)
        expected = uniform_frames(torch.tensor(n), torch.tensor(phase), torch.from_numpy(noise))
        assert frames_of_one(n, float(phase), noise.tolist()) == expected.tolist()
