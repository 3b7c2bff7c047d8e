"""Bars of a result: what is drawn as a gain."""

from pathlib import Path

import numpy as np
import pytest

from skelssl.pages import report
from skelssl.pages.figures.results import accuracy_bars
from tests.helpers.results import write_evaluation


@pytest.mark.parametrize(("right", "kind"), [(20, "gain"), (10, "gain none"), (2, "gain none")])
def test_only_a_difference_above_zero_is_green(tmp_path: Path, right: int, kind: str) -> None:
    clips = np.arange(20)
    difference = {"mean": (right - 10) / 20, "low": (right - 14) / 20, "high": (right - 6) / 20}
    write_evaluation(tmp_path / "run", correct=clips < right, random=clips < 10, difference=difference)
    html = accuracy_bars(report.collect([tmp_path]).rows)
    assert f'<p class="{kind}">{50 * (right - 10) / 10:+.1f} [' in html
    assert "points against random init</p>" in html
