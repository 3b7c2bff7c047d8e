"""The estimate of full runs: what a step counts over its clips, and the arithmetic around them."""

import pytest
from numpy.polynomial import Polynomial

from benchmarks.full_runs import METHODS, Run, operations, published_run, step_operations, table
from tests.helpers.config import compose


@pytest.mark.parametrize("method", METHODS)
def test_what_three_batches_tell_holds_for_another(method):
    config = compose("train", f"method={method}", "debug=smoke")
    assert step_operations(config, 2)(11) == pytest.approx(operations(config, 11), rel=1e-9)


def test_a_wider_projector_counts_as_its_matrices_do():
    """PSTL, three views of N: two layers D x D and one 32 x D, Gram matrices N x N, forward and twice backward."""
    narrow, wide = (operations(compose("train", "debug=smoke", f"method.head.dim={d}"), 4) for d in (16, 48))

    def head(d: int) -> int:
        rows = 3 * 4
        return 3 * 2 * rows * (32 * d + 2 * d * d) + 3 * 3 * 2 * 4 * 4 * d

    assert wide - narrow == head(48) - head(16)


def test_steps_epochs_and_hours():
    counted: dict[str, Polynomial] = {}
    config = compose("train", "method=mamp", "dataset=ntu60_xsub")
    assert config["method"]["loader"]["drop_last"]
    run = published_run("mamp", "ntu60_xsub", 1, counted)
    assert (run.epochs, run.batch, run.steps) == (400, 128, 400 * (40_091 // 128))
    (of_step,) = counted.values()
    assert run.pflop == pytest.approx(of_step(128) * run.steps / 1e15)
    assert published_run("mamp", "ntu60_xview", 1, counted).steps == 400 * (37_646 // 128)
    assert len(counted) == 1  # the same work, counted once
    year = Run("m", "d", 1, 1, 1, 1.0, pflop=36.0)
    assert year.hours(tflops=10.0, gpus=1) == pytest.approx(1.0)
    assert "| 1 h | 0.12 h | 0.016 h |" in table([year], 10.0)
