"""The figure of lost joints: the right curves, at the right places, told apart by what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from skelssl.pages.figures.lost_joints import curves_of, lost_joints_figure
from skelssl.pages.report import collect
from skelssl.results.read import find_results
from tests.helpers.page import figures
from tests.helpers.results import write_evaluation

SETS = {"none": ("none", 0), "left_arm": ("part", 6), "2 parts": ("parts", 9), "5 joints": ("joints", 5),
        "1 joints": ("joints", 1)}  # fmt: skip


def points(*top1: float) -> list[dict[str, Any]]:
    return [{"lost": name, "kind": kind, "n_lost": n, "top1": value}
            for value, (name, (kind, n)) in zip(top1, SETS.items(), strict=True)]  # fmt: skip


TRAINED = points(0.8, 0.6, 0.4, 0.5, 0.7)
RANDOM = points(0.3, 0.2, 0.1, 0.2, 0.3)


def write(
    run: Path,
    method: str = "pstl",
    seed: int = 0,
    how: str = "drop",
    shift: float = 0.0,
    random: bool = True,
    **more: Any,
) -> None:
    recipe = {"how": how, "when": "both", "headline": "5 joints", "of": {"name": "linear"}}
    curve = [{**point, "top1": point["top1"] + shift} for point in TRAINED]
    write_evaluation(
        run, method=method, seed=seed, protocol="lost_joints", recipe=recipe, curve=curve,
        setting=f"5 joints lost ({how}, in training and test, linear)",
        random_init_extra={"curve": RANDOM} if random else None, **more,
    )  # fmt: skip


def test_two_runs_share_the_charts_and_are_named_by_what_differs(tmp_path: Path) -> None:
    write(tmp_path / "a", "pstl")
    write(tmp_path / "b", "mamp", shift=0.1, random=False)
    curves = curves_of(find_results([tmp_path]))
    assert {c.name: bool(c.random_init) for c in curves} == {"pstl": True, "mamp": False}
    html = lost_joints_figure(curves)
    (lines,) = figures(html, "curves")
    by_name = {line["name"]: line for line in lines}
    assert set(by_name) == {"pstl", "pstl, random init", "mamp"}
    assert by_name["pstl"]["step"] == [0, 1, 5]
    assert by_name["pstl"]["text"] == ["80.0 %", "70.0 %", "50.0 %"]
    assert by_name["pstl, random init"]["text"] == ["30.0 %", "30.0 %", "20.0 %"]
    assert by_name["mamp"]["text"] == ["90.0 %", "80.0 %", "60.0 %"]
    titles = re.findall(r"<title>(.*?)</title>", html)
    assert titles.count("pstl: 60.0 %") == titles.count("pstl, random init: 20.0 %") == 1  # the left arm
    assert "mamp: 50.0 %" in titles  # two parts
    assert len(titles) == 9  # three columns: two encoders, and one of them before training


def test_settings_of_one_method_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "a", how="drop")
    write(tmp_path / "b", how="zero")
    assert {c.name for c in curves_of(find_results([tmp_path]))} == {"pstl, drop", "pstl, zero"}


def test_runs_that_differ_elsewhere_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", config={"epochs": 7})
    assert {c.name for c in curves_of(find_results([tmp_path]))} == {"pstl, a", "pstl, b"}


def test_seeds_make_one_curve_with_a_band(tmp_path: Path) -> None:
    for seed, shift in enumerate((-0.1, 0.0, 0.1)):
        write(tmp_path / str(seed), seed=seed, shift=shift)
    (curve,) = curves_of(find_results([tmp_path]))
    assert curve.trained["5 joints"] == pytest.approx([0.4, 0.5, 0.6])
    html = lost_joints_figure([curve])
    (lines,) = figures(html, "curves")
    assert lines[0]["text"] == ["80.0 %", "70.0 %", "50.0 %"]
    band = re.findall(r'<polygon points="(.*?)"', html)[0].split()
    heights = [float(place.split(",")[1]) for place in band]
    assert heights[0] < heights[-1]  # upper edge above lower edge


def test_a_report_has_the_figure_only_where_joints_were_lost(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "plain")
    assert "Lost joints" not in collect([tmp_path]).page().render()
    write(tmp_path / "a")
    page = collect([tmp_path]).page().render()
    assert "<h2>Lost joints</h2>" in page
    assert "accuracy over missing joints" in page
    assert "accuracy with missing parts" in page
