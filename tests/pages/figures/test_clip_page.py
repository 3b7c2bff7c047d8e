"""The pages of a clip and of a data set: what is given is on them, in numbers, and a browser draws it."""

import re
import shutil
import subprocess
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from skelssl.data.split import ClipTable, Split
from skelssl.pages.figures.clip_page import write_clip_page
from skelssl.pages.figures.counts import count_bars, histogram
from skelssl.pages.figures.dataset_page import write_dataset_page
from skelssl.pages.figures.player import PlayerClip
from skelssl.skeleton.layout import load_layout
from tests.helpers.page import figures

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NASTY = "</script><b>&"


def walker(frames: int = 20) -> np.ndarray:
    """(T, 25, 3, 2) a moving first person; the second one leaves after five frames."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 25, 3, 2)) + np.linspace(0, 2, frames)[:, None, None, None] * rng.normal(size=(1, 25, 3, 1))
    x[5:, ..., 1] = 0
    return x


@pytest.fixture
def clip_page(tmp_path: Path) -> Path:
    write_clip_page(
        tmp_path / "clip.html",
        title="S001",
        subtitle="drinking",
        layout=load_layout("ntu25"),
        facts=[("codes", NASTY), ("frames", "20")],
        recorded=PlayerClip("recorded", walker(), bodies=["72057594037944738", "72057594037944734"], note="20 frames"),
        recipes=[PlayerClip("short", walker(10), bodies=("a", "b")), PlayerClip("long", walker(), bodies=("a", "b"))],
        refused={"agcn": NASTY},
        views=[PlayerClip("draw 1", walker())],
        masks=[
            PlayerClip("mask", walker(), dropped_joints=[1], kept_frames=range(9)),
            PlayerClip("tokens", walker(), tokens=np.arange(2 * 5 * 25).reshape(2, 5, 25) % 3 > 0),
        ],
    )
    return tmp_path / "clip.html"


def dataset_page(path: Path, clips: ClipTable, classes: int = 3, **report: object) -> str:
    rng = np.random.default_rng(0)
    names = list(clips.names)
    plain = {"expected_clips": None, "expected_splits": {}, "missing": {}, "duplicates": [], "leaks": {}, "notes": [],
             "warnings": {}, "skipped": []}  # fmt: skip
    write_dataset_page(
        path,
        title="a set",
        subtitle="",
        clips=clips,
        class_names=[f"class {k}" for k in range(classes)],
        n_frames=rng.integers(20, 300, len(names)),
        max_bodies=rng.integers(1, 3, len(names)),
        splits={"xsub": Split(tuple(names[::2]), tuple(names[1::2]))},
        report={**plain, **report},
    )
    return path.read_text("utf-8")


def table_of(names: list[str], labels: list[int], subject: list[int]) -> ClipTable:
    unknown = np.full(len(names), -1)
    facts = {"subject": np.array(subject), "camera": unknown, "setup": unknown, "replication": unknown}
    return ClipTable(names, np.array(labels), facts)


def test_sections_of_a_clip(clip_page: Path) -> None:
    html = clip_page.read_text("utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == ["Recording", "Recipes", "Augmentations", "Masks"]
    raw, recipes, views, masks = figures(html, "player")
    (clip,) = raw["clips"]
    assert clip["bodies"] == ["72057594037944738", "72057594037944734"]
    assert [sum(there) for there in clip["present"]] == [2] * 5 + [1] * 15
    assert (raw["together"], recipes["together"], views["together"]) == (False, True, False)
    assert [len(c["x"]) for c in recipes["clips"]] == [10, 20]
    assert masks["clips"][0]["dropped"] == [1]
    assert masks["clips"][1]["note"] == "person 1: 83 of 125 tokens masked; person 2: 83 of 125 tokens masked"
    assert "The map below a clip" in html
    assert NASTY not in html
    assert html.count("&lt;/script&gt;&lt;b&gt;&amp;") == 2


def test_counts_of_a_set(tmp_path: Path) -> None:
    clips = table_of([*"abcde"], [0, 0, 0, 2, 2], [1, 1, 7, 7, -1])
    skipped = [{"name": f"s{i}", "code": "D01", "reason": NASTY} for i in range(301)]
    html = dataset_page(
        tmp_path / "set.html", clips, expected_clips=[8, 9], expected_splits={"xsub": {"train": 5, "test": 4}},
        missing={"label": [1]}, skipped=skipped, duplicates=[["a", "b"]], leaks={"xsub": [["a", "b"]]},
        warnings={"D17": {"what": "same", "count": 2, "names": ["a", "b"]}}, notes=["a note"],
    )  # fmt: skip
    rows = [re.findall(r"<td[^>]*>(?:<div.*?</div>)?([^<]*)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    assert [row for row in rows if len(row) == 6] == [
        ["1", "class 0", "3", "", "2", "1"],
        ["2", "class 1", "0", "", "0", "0"],
        ["3", "class 2", "2", "", "1", "1"],
    ]
    facts = dict(re.findall(r"<tr><th>([^<]*)</th><td>([^<]*)</td></tr>", html))
    assert facts["clips"] == "5 of 8–9 in the complete dataset"
    assert (facts["missing: class"], facts["note"]) == ("2", "a note")
    assert facts["split xsub"] == "train 3 of 5, test 2 of 4"
    assert facts["leak in xsub"] == "1 groups on both sides"
    assert re.findall(r"<h3>(.*?)</h3>", html) == ["subject", "bodies in one frame"]  # unknown metadata is left out
    assert re.findall(r"<span>(\w+)</span>.*?<strong>(\d+)</strong>", html)[:2] == [("1", "2"), ("7", "2")]
    assert "The first 300 of 301" in html
    assert ">s299<" in html
    assert ">s300<" not in html
    assert NASTY not in html


@pytest.mark.parametrize("most", [5, 48])
def test_columns_hold_every_value_once(most: int) -> None:
    values = np.random.default_rng(1).integers(3, 120, 500)
    found = re.findall(r"<title>([\d,]+)(?: to ([\d,]+))? frames: (\d+)</title>", histogram(values, "frames", most))
    assert len(found) <= most
    for first, last, count in found:
        assert int(count) == sum(int(first) <= v <= int(last or first) for v in values)
    assert sum(int(count) for *_, count in found) == 500


def test_columns_of_one_value_and_bars_of_nothing() -> None:
    assert "<title>7 frames: 3</title>" in histogram(np.array([7, 7, 7]), "frames")
    assert "width:0.0%" in count_bars({"x": {"none": 0}})


def test_a_set_of_the_largest_size_makes_a_small_page_at_once(tmp_path: Path) -> None:
    parts = product(range(1, 33), range(1, 4), range(1, 107), range(1, 13))
    names = [f"S{s:03}C{c:03}P{p:03}R001A{a:03}" for s, c, p, a in parts][:113_945]
    labels = np.arange(len(names)) % 120
    unknown = np.arange(len(names)) % 106
    clips = ClipTable(names, labels, dict.fromkeys(("subject", "camera", "setup", "replication"), unknown))
    warnings = {"D05": {"what": "empty frames", "count": len(names), "names": names}}
    skipped = [{"name": n, "code": "D20", "reason": "on the list of incomplete recordings"} for n in names[:5000]]
    began = time.process_time()
    html = dataset_page(tmp_path / "set.html", clips, 120, warnings=warnings, skipped=skipped)
    assert time.process_time() - began < 5
    assert len(html) < 200_000


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.parametrize("theme", ["--force-dark-mode", "--force-prefers-reduced-motion"])
def test_browser_draws_both_without_a_complaint(clip_page: Path, tmp_path: Path, theme: str) -> None:
    dataset_page(tmp_path / "set.html", table_of([*"abc"], [0, 1, 2], [1, 2, 2]))
    for page, least in ((clip_page, 40_000), (tmp_path / "set.html", 20_000)):
        picture = tmp_path / "shot.png"
        command = [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", theme,
            "--virtual-time-budget=2000", f"--screenshot={picture}", "--window-size=1000,2400", page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        assert picture.stat().st_size > least  # an empty page of this size is far smaller
