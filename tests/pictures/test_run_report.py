"""The page of a run: sections for what is given, and a real browser that shows it without a complaint."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from skelssl.pictures.embedding import Embedding
from skelssl.pictures.player import PlayerClip
from skelssl.pictures.results import accuracy_bars, results_table
from skelssl.pictures.run_report import write_run_report
from skelssl.rows import Row, find_results, gather
from skelssl.skeleton import layout
from tests.helpers.results import write_evaluation

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    write_evaluation(tmp_path / "runs" / "ab12")
    return gather(find_results([tmp_path / "runs"]))


@pytest.fixture
def page(tmp_path: Path, rows: list[Row]) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 25, 3, 2)) + np.linspace(0, 2, 20)[:, None, None, None] * rng.normal(size=(1, 25, 3, 1))
    write_run_report(
        tmp_path / "report.html",
        title="A run",
        metrics_rows=[{"step": s, "train/loss": 1 / (s + 1), "lr": 0.1} for s in range(9)],
        results=rows,
        floors={"linear": 0.4},
        confusion_matrix=np.eye(3, dtype=int),
        class_names=["a", "b", "c"],
        embedding=Embedding(rng.normal(size=(30, 2)), np.arange(30) % 3, camera=np.arange(30) % 2),
        players=[
            PlayerClip("anchor", x),
            PlayerClip("mask", x, dropped_joints=[1], kept_frames=range(9)),
            PlayerClip("tokens", x, tokens=rng.random((2, 4, 25)) < 0.9),
            PlayerClip("weights", x, tokens=rng.random((2, 4, 25))),
        ],
        layout=layout("ntu25"),
    )
    return tmp_path / "report.html"


def test_bars_and_table(rows: list[Row]) -> None:
    bars = accuracy_bars(rows, {"linear": 0.4, "knn": 0.9})
    assert re.findall(r'class="bar ([\w-]+)".*?<b style="width:([\d.]+)%', bars) == [
        ("trained", "75.0"), ("random-init", "25.0"), ("raw-coordinates", "40.0")]  # fmt: skip
    assert re.findall(r'class="tick" style="left:([\d.]+)%', bars) == ["81.8"]
    table = results_table(rows)
    assert "<td>81.8 (second hand)</td>" in table
    assert "<td>+50.0 [25.0, 75.0]</td>" in table


def test_sections_for_what_is_given(page: Path, tmp_path: Path) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page.read_text())
    assert ", ".join(titles) == (
        "What was learnt, What the encoder sees, Training, Feature space, Confusions, All figures"
    )
    write_run_report(tmp_path / "bare.html", title="x", metrics_rows=[{"step": 0, "train/loss": 1.0}])
    assert re.findall(r"<h2>(.*?)</h2>", (tmp_path / "bare.html").read_text()) == ["Training"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_browser_draws_it_without_errors_and_the_animation_moves(page: Path, tmp_path: Path) -> None:
    def shot(milliseconds: int, *more: str) -> bytes:
        picture = tmp_path / f"{milliseconds}{len(more)}.png"
        command = [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", *more,
            f"--virtual-time-budget={milliseconds}", f"--screenshot={picture}", "--window-size=900,2600", page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        return picture.read_bytes()

    first = shot(1000)
    assert len(first) > 20_000  # an empty page of this size is far smaller
    # A busy machine may skip every frame of a short wait, so the waits grow; a page that stands still never passes.
    assert any(shot(milliseconds) != first for milliseconds in (1700, 3100, 5300, 8900, 14300, 21700, 30100))
    still = "--force-prefers-reduced-motion"  # starts paused, so only the animation can have made the difference
    assert any(shot(wait, still) == shot(2 * wait, still) for wait in (1500, 3000, 6000))  # the first may be half drawn
