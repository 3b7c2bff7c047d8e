"""Curves: the right families, the right places, the right thinning."""

import re

import numpy as np
import pytest

from skelssl.pages.figures.axes import Axis, log_ticks, ticks
from skelssl.pages.figures.curves import POINTS, loss_curve
from tests.helpers.page import figures


def headings(html: str) -> list[str]:
    return re.findall(r"<h3>(.*?)</h3>", html)


def test_families_in_order_and_gaps_left_out() -> None:
    rows = [{"epoch": 0.0, "step": s, "lr": 0.1, "train/loss": 3.0 - s / 10} for s in range(5)]
    rows.append({"epoch": 0.0, "step": 5, "probe/knn/top1": 0.25, "train/feature_std": 1.0})
    html = loss_curve(rows)
    assert headings(html) == ["training loss", "probe accuracy", "learning rate", "train/feature_std"]
    loss, probe, *_ = figures(html, "curves")
    assert loss[0]["step"] == [0, 1, 2, 3, 4]
    assert loss[0]["text"] == ["3", "2.9", "2.8", "2.7", "2.6"]
    assert probe[0]["text"] == ["25.0 %"]


def test_points_lie_where_the_axes_say() -> None:
    html = loss_curve([{"step": s, "train/loss": v} for s, v in ((0, 1.0), (5, 2.0), (10, 3.0))])
    (points,) = re.findall(r'<polyline points="(.*?)"', html)
    assert points == "52.0,210.0 239.0,110.0 426.0,10.0"  # ticks 0..10 and 1..3, straight line corner to corner


def test_long_runs_are_thinned_to_bin_means_and_keep_their_extremes() -> None:
    values = np.random.default_rng(0).normal(size=3000)
    html = loss_curve([{"step": s, "train/x": float(v)} for s, v in enumerate(values)])
    (line,) = figures(html, "curves")[0]
    assert len(line["step"]) == POINTS
    assert float(line["text"][7]) == pytest.approx(values[70:80].mean(), abs=1e-3)
    (band,) = re.findall(r'<polygon points="(.*?)"', html)
    y = [float(p.split(",")[1]) for p in band.split()]
    axis = Axis(ticks(values.min(), values.max()), 210, 10)
    assert (min(y), max(y)) == pytest.approx(tuple(axis(np.array([values.max(), values.min()]))), abs=0.06)


def test_a_wide_loss_gets_a_log_scale_and_infinite_values_are_left_out() -> None:
    rows = [{"step": s, "train/loss": v} for s, v in enumerate([900.0, 30.0, float("inf"), float("nan"), 2.0])]
    html = loss_curve(rows)
    assert headings(html) == ["training loss, log scale"]
    assert figures(html, "curves")[0][0]["step"] == [0, 1, 4]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 4), (5, 5), (0, 0), (1e-9, 3e-9), (2000, 2001), (0, 6e6)])
def test_ticks_enclose_and_are_few(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    assert np.allclose(np.diff(found), found[1] - found[0])


def test_log_axis() -> None:
    axis = Axis(log_ticks(1.0, 100.0), 0, 100, log=True)
    assert axis(np.array([1.0, 10.0, 100.0])).tolist() == pytest.approx([0, 50, 100])


def test_masks_of_a_method_share_a_chart() -> None:
    html = loss_curve([{"step": 0, "mask/csm/share": 0.3, "mask/matm/share": 0.4, "mask/csm/motion": 0.9}])
    assert headings(html) == ["masked fraction", "motion of the masked part relative to the mean"]
    assert [line["name"] for line in figures(html, "curves")[0]] == ["mask/csm/share", "mask/matm/share"]
