"""Token maps: the grid that reaches the page, the words below it, and the pixels that a browser makes of it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from skelssl.pages.figures.html import Page
from skelssl.pages.figures.player import PlayerClip, skeleton_player
from skelssl.pages.figures.token_map import token_cells, token_note, token_rows, weight_levels
from skelssl.skeleton.layout import load_layout

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BODY = load_layout("ntu25")
FRAMES, SEGMENTS = 12, 3
HIDDEN = np.random.default_rng(0).random((2, SEGMENTS, 25)) < 0.8
WEIGHTS = np.random.default_rng(1).random((2, SEGMENTS, 25)) * [[[2.0]], [[30.0]]]


def there(*persons: bool) -> np.ndarray:
    return np.tile(persons, (FRAMES, 1))


def test_every_token_keeps_its_place() -> None:
    found = token_cells(HIDDEN, there(True, True), BODY)
    assert (found["kind"], found["most"], found["segments"]) == ("hidden", 1, SEGMENTS)
    assert found["cells"] == HIDDEN.astype(int).tolist()


def test_a_person_who_never_comes_has_no_grid_and_one_who_leaves_has() -> None:
    present = there(True, False)
    assert token_cells(HIDDEN, present, BODY)["cells"] == [HIDDEN[0].astype(int).tolist(), None]
    present[-1, 1] = True
    assert token_cells(HIDDEN, present, BODY)["cells"][1] == HIDDEN[1].astype(int).tolist()  # type: ignore[index]


def test_weights_become_ninths_of_the_persons_own_largest() -> None:
    weights = np.array([[[0.0, 1.0, 4.5, 9.0]], [[0.0, 0.02, 0.05, 0.06]], [[0.0, 0.0, 0.0, 0.0]]])
    assert weight_levels(weights).tolist() == [[[0, 1, 4, 9]], [[0, 3, 8, 9]], [[0, 0, 0, 0]]]
    found = token_cells(WEIGHTS, there(True, True), BODY)
    expected = [[[round(9 * w / person.max()) for w in row] for row in person.tolist()] for person in WEIGHTS]
    assert (found["kind"], found["most"], found["cells"]) == ("weight", 9, expected)


@pytest.mark.parametrize("shape", [(1, 3, 25), (2, 3, 20), (2, 5, 25)])
def test_a_grid_of_another_clip_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(2, S, 25\), S dividing 12"):
        token_cells(np.zeros(shape, bool), there(True, True), BODY)


def test_joints_without_tokens_are_named() -> None:
    clip = PlayerClip("cross", np.ones((FRAMES, 25, 3, 2)), dropped_joints=[0, 3], tokens=np.ones((2, 3, 25), bool))
    assert "69 of 69 tokens masked; no tokens: spine base, head" in skeleton_player([clip], BODY)


def test_words() -> None:
    hidden = np.zeros((2, SEGMENTS, 25), bool)
    hidden[0, 1], hidden[1, :, :2] = True, True
    assert token_note(hidden, there(False, True), left_out=2) == "person 2: 0 of 69 tokens masked; person 1: absent"
    both = "person 1: 25 of 75 tokens masked; person 2: 6 of 75 tokens masked"
    assert token_note(hidden, there(True, True)) == both
    assert token_note(hidden, there(False, True)) == "person 2: 6 of 75 tokens masked; person 1: absent"
    assert token_note(WEIGHTS, there(True, False)) == "3 segments of 4 frames; person 2: absent"


@pytest.mark.parametrize("name", ["ntu25", "kinect20"])
def test_rows_hold_every_joint_once(name: str) -> None:
    body = load_layout(name)
    rows = token_rows(body)
    assert [part for part, _ in rows] == [part.replace("_", " ") for part in body.parts]
    assert sorted(v for _, members in rows for v in members) == list(range(len(body.joints)))


def test_joints_of_two_parts_and_of_none() -> None:
    odd = replace(BODY, parts={"up": (3, 2, 20), "down": (0, 1, 20)})
    others = [v for v in range(25) if v not in (3, 2, 20, 0, 1)]
    assert token_rows(odd) == [("up", [3, 2, 20]), ("down", [0, 1]), ("other", others)]


# --- a browser reads its own pixels back: the colour in the middle of each cell, by person, row and segment

PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const canvas = document.querySelector(".map canvas"), step = (canvas.width - 52) / 3;
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const at = (x, y) => [...pen.getImageData(x, y, 1, 1).data].slice(0, 3);
  const cell = (m, row, s) => at(52 + (s + 0.5) * step, 16 + 122 * m + 4 * row + 1.5);
  const cells = [0, 1].map((m) => [...Array(25).keys()].map((row) => [0, 1, 2].map((s) => cell(m, row, s))));
  const rgb = (name) => { pen.fillStyle = color(name); pen.fillRect(0, 0, 1, 1); return at(0, 0); };
  const hues = Object.fromEntries(["left", "right", "trunk", "c3", "hair"].map((name) => [name, rgb(name)]));
  const mark = document.querySelector(".map i").offsetHeight, box = canvas.getBoundingClientRect();
  const touch = (kind, s, row) => canvas.dispatchEvent(new PointerEvent(kind, { buttons: 1,
    clientX: box.left + 52 + (s + 0.6) * step, clientY: box.top + 16 + 4 * row + 2 }));
  touch("pointermove", 2, 5);
  const said = document.getElementById("tip").textContent, frame = document.querySelector(".figure").dataset.frame;
  const text = JSON.stringify({ cells, hues, height: canvas.height, mark, said, frame });
  document.body.append(Object.assign(document.createElement("pre"), { id: "probe", textContent: text }));
}, 300));</script>"""


def pixels(tmp_path: Path, clip: PlayerClip) -> dict[str, object]:
    page = Page("probe")
    page.add("masks", "", skeleton_player([clip], BODY))
    path = tmp_path / "probe.html"
    path.write_text(page.render().replace("</body>", PROBE + "</body>"), "utf-8")
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--force-device-scale-factor=1",
        "--virtual-time-budget=3000", "--dump-dom", "--window-size=800,1200", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    (text,) = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout)
    found: dict[str, object] = json.loads(unescape(text))
    return found


def clip_with(tokens: np.ndarray, persons: int = 2) -> PlayerClip:
    x = np.random.default_rng(2).normal(size=(FRAMES, 25, 3, 2))
    x[..., persons:] = 0
    return PlayerClip("mask", x, tokens=tokens)


ORDER = [v for _, members in token_rows(BODY) for v in members]
SIDES = ["left" if "left" in BODY.joints[v] else "right" if "right" in BODY.joints[v] else "trunk" for v in ORDER]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_paints_visible_tokens_in_the_colour_of_their_side_and_no_others(tmp_path: Path) -> None:
    found = pixels(tmp_path, clip_with(HIDDEN))
    cells, hues = np.array(found["cells"]), found["hues"]
    strong = np.array([hues[side] for side in SIDES])  # type: ignore[index]
    painted = (np.abs(cells - strong[None, :, None]) <= 2).all(-1)  # (M, row, S)
    np.testing.assert_array_equal(painted, ~HIDDEN[:, :, ORDER].swapaxes(1, 2))
    state = "masked" if HIDDEN[0, 2, ORDER[5]] else "visible"
    assert found["said"] == f"shoulder left, segment 3 of 3: {state}"
    assert found["frame"] == "10"  # six tenths into the third of three segments of four frames


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_paints_weights_the_stronger_the_larger_and_leaves_the_absent_out(tmp_path: Path) -> None:
    found = pixels(tmp_path, clip_with(WEIGHTS, persons=1))
    assert (found["height"], found["mark"]) == (16 + 100 + 6 + 16, 16 + 100)  # one grid, two headings
    hues = {name: np.array(hue, float) for name, hue in found["hues"].items()}  # type: ignore[attr-defined]
    ink = hues["c3"] - hues["hair"]
    share = (np.array(found["cells"][0]) - hues["hair"]) @ ink / (ink @ ink)  # type: ignore[index]
    assert share == pytest.approx(weight_levels(WEIGHTS)[0][:, ORDER].T / 9, abs=0.03)
