"""The page of a run of each method in a real browser: silent, moving, switchable, and as narrow as a phone."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skelssl.pages.figures.results import accuracy_bars, results_table
from skelssl.pages.run_page import SECTIONS, write_page
from skelssl.results.aggregate import Row, gather_rows
from skelssl.results.read import find_results
from tests.helpers.browser import BROWSER, Browser
from tests.helpers.config import train_config
from tests.helpers.page import figures
from tests.helpers.results import write_evaluation
from tests.helpers.runs import untrained_run

METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm")
MAPS = {
    "pstl": ["mean over blocks", "first block", "last block"],
    "skeleton_contrast": ["sensitivity", "A + P + S", "S: by the clips", "P: learned", "A: the body"],
    "mamp": ["last block", "rollout"],
    "skeleton2vec": ["last block", "rollout"],
    "ha_cm": ["last block", "rollout", "hyperbolic radius"],
}
FIRST = {
    "pstl": ["anchor: unmasked", "spatial view: CSM", "temporal view: MATM"],
    "skeleton_contrast": ["draw 1", "draw 2", "draw 3"],
    "mamp": ["masked in training", "as many, masked at random", "motion of each token"],
    "skeleton2vec": ["masked in training", "as many, masked regardless of motion", "motion of each joint in each tube"],
    "ha_cm": ["masked in training", "retained by attention: segments 1, 3, ...",
              "retained by hierarchy: segments 2, 4, ...",
              "attention score, above the least", "hierarchy score, above the least"],
}  # fmt: skip
browser_test = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    write_evaluation(tmp_path / "runs" / "ab12")
    return gather_rows(find_results([tmp_path / "runs"]))


def test_bars_and_table(rows: list[Row]) -> None:
    bars = accuracy_bars(rows, {"linear": 0.4, "knn": 0.9})
    assert re.findall(r'class="bar ([\w-]+)".*?<b style="width:([\d.]+)%', bars) == [
        ("trained", "75.0"), ("random-init", "25.0"), ("raw-coordinates", "40.0")]  # fmt: skip
    assert re.findall(r'class="tick" style="left:([\d.]+)%', bars) == ["81.8"]
    table = results_table(rows)
    assert "<td>81.8 (second hand)</td>" in table
    assert "<td>+50.0 [25.0, 75.0]</td>" in table


@pytest.fixture(scope="module", params=METHODS)
def page(request: pytest.FixtureRequest, data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    run = untrained_run(folder / "run", train_config(data_root, f"method={request.param}"))
    write_page(run, folder / "report.html")
    return request.param, folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    tab = Browser(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


def test_every_section_shows_what_the_method_has(page: tuple[str, Path]) -> None:
    method, path = page
    html = path.read_text("utf-8")
    sections = dict(re.findall(r"<h2>(.*?)</h2>(.*?)</section>", html, re.S))
    assert [*sections] == [*SECTIONS]
    assert [title for title, text in sections.items() if 'class="absent"' in text] == ["Lost joints"]
    assert "skelssl.evaluate protocol=lost_joints checkpoint=" in sections["Lost joints"]
    maps = [values["title"] for body in figures(sections["Attention"], "body") for values in body["maps"]]
    assert maps == MAPS[method]
    (masks,) = figures(sections["Masks"], "player")
    assert len(masks["groups"]) == 3
    assert [clip["title"] for clip in masks["clips"][: masks["groups"][0][1]]] == FIRST[method]
    (gallery,) = figures(sections["Nearest neighbours"], "player")
    assert [count for _, count in gallery["groups"]] == [5] * 8
    assert ("does not mask" in sections["Masking rates"]) == (method == "skeleton_contrast")
    assert len(html) < 2_000_000
    assert "http" not in re.sub(r"http://www.w3.org/2000/svg", "", html)


@browser_test
def test_what_goes_wrong_is_noticed(browser: Browser, tmp_path: Path) -> None:
    bad = {
        "console": '<script>console.error("oh")</script>',
        "oh no": '<script>throw new Error("oh no")</script>',
        "request: http://127.0.0.1:9/x.png": '<img src="http://127.0.0.1:9/x.png">',
    }
    for said, html in bad.items():
        (tmp_path / "bad.html").write_text(html)
        browser.problems.clear()
        browser.open(tmp_path / "bad.html")
        browser.wait(lambda said=said: any(said in problem for problem in browser.problem_list()), said)
    browser.problems.clear()


@browser_test
def test_silent_and_moving_by_day(page: tuple[str, Path], browser: Browser) -> None:
    browser.open(page[1])
    for i in range(browser.js("document.querySelectorAll('section').length")):
        browser.js(f"document.querySelectorAll('section')[{i}].scrollIntoView({{behavior: 'instant'}})")
        moving = f"document.querySelectorAll('section')[{i}].querySelector('[data-figure=player]')"
        if browser.js(f"{moving} === null"):
            continue
        frame, picture = f"{moving}.dataset.frame", f"{moving}.querySelector('canvas').toDataURL()"
        was = browser.js(frame), browser.js(picture)
        browser.wait(lambda frame=frame, was=was: browser.js(frame) != was[0], "another frame")
        browser.wait(lambda picture=picture, was=was: browser.js(picture) != was[1], "another picture")
        browser.click(f"{moving}.querySelector('button')")  # pause
        stopped = browser.js(frame)
        time.sleep(0.3)
        assert browser.js(frame) == stopped
    assert browser.problem_list() == []


@browser_test
def test_switches(page: tuple[str, Path], browser: Browser) -> None:
    browser.open(page[1], still=True)
    clouds = "document.querySelector('[data-figure=embedding]')"
    pictures = {browser.js(f"{clouds}.querySelector('canvas').toDataURL()")}
    for i, name in enumerate(("class", "subject", "camera")):
        browser.click(f"{clouds}.querySelectorAll('button')[{i}]")
        assert browser.js(f"{clouds}.querySelector('[aria-pressed=true]').textContent") == name
        pictures.add(browser.js(f"{clouds}.querySelector('canvas').toDataURL()"))
    assert len(pictures) == 3
    heat = "document.querySelector('[data-figure=confusion]')"
    first = browser.js(f"{heat}.dataset.first")
    browser.click(f"{heat}.querySelectorAll('button')[1]")  # by error: only every other class has any
    assert browser.js(f"{heat}.dataset.first") != first
    bodies = "[...document.querySelectorAll('[data-figure=body]')].at(-1)"
    for i, title in enumerate(browser.js(f"[...{bodies}.querySelectorAll('button')].map((b) => b.textContent)")):
        browser.click(f"{bodies}.querySelectorAll('button')[{i}]")
        assert browser.js(f"{bodies}.dataset.map") == title
    browser.click(f"{bodies}.querySelector('button')")
    if browser.js(f"{bodies}.querySelector('.caption').textContent"):  # rows of a matrix
        shown = browser.js(f"{bodies}.querySelector('.ranks').textContent")
        browser.click(f"{bodies}.querySelectorAll('circle')[3]")
        assert "head" in browser.js(f"{bodies}.querySelector('.caption').textContent")
        assert browser.js(f"{bodies}.querySelector('.ranks').textContent") != shown
        assert browser.js("document.getElementById('tip').textContent").startswith("head: ")
    assert browser.problem_list() == []


OVERFLOWING = """[...document.querySelectorAll('body *')].filter((e) => {
  const scrolls = (p) => /auto|scroll/.test(getComputedStyle(p).overflowX), parents = [];
  for (let p = e.parentElement; p; p = p.parentElement) parents.push(p);
  if (e.closest('svg, script, option, #tip') || !e.getClientRects().length || parents.some(scrolls)) return false;
  const beyond = e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
  const inline = getComputedStyle(e).display === 'inline';
  return beyond || (!inline && !scrolls(e) && e.scrollWidth > e.clientWidth + 1);
}).map((e) => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`)"""


@browser_test
def test_a_phone_by_night(page: tuple[str, Path], browser: Browser) -> None:
    browser.open(page[1], width=400, dark=True, still=True)
    assert browser.js("document.documentElement.dataset.theme") == "dark"
    night = browser.js("getComputedStyle(document.body).backgroundColor")
    assert browser.js("document.documentElement.scrollWidth") <= 400
    browser.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.js(OVERFLOWING) == []
    browser.click("document.getElementById('theme')")
    assert browser.js("getComputedStyle(document.body).backgroundColor") != night
    assert browser.problem_list() == []


def test_a_run_that_lacks_everything_says_so(data_root: Path, tmp_path: Path) -> None:
    config = train_config(data_root, "method=mamp")
    run = untrained_run(tmp_path / "run", config, evaluated=False)
    for path in ("metrics.csv", "run.json"):
        (run / path).unlink()
    shutil.rmtree(run / "encoder")
    write_page(run, tmp_path / "bare.html")
    html = (tmp_path / "bare.html").read_text("utf-8")
    sections = dict(re.findall(r"<h2>(.*?)</h2>(.*?)</section>", html, re.S))
    absent = {title: text for title, text in sections.items() if 'class="absent"' in text}
    assert [*sections.keys() - absent.keys()] != []
    assert set(sections) - set(absent) == {"Data", "Run and configuration"}
    assert "protocol=knn" in absent["Results against random init"]
    assert "expected a finished run" in absent["Feature space"]
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(str(data_root), str(tmp_path / "gone")))
    write_page(run, tmp_path / "bare.html")
