"""``explore``: the page shows what the store holds, what the recipes make of it, and says why where it cannot."""

import html as text
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
import yaml

from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.data import process_file
from skelssl.data.build.prepare import build_parsed, parsed_folder
from skelssl.data.clip import PERSONS, RawClip
from skelssl.data.module import open_dataset
from skelssl.data.ntu.source import NTU
from skelssl.data.parsed import ClipIndex, pack, write_store
from skelssl.methods.build import build_method, load_trained_method
from skelssl.methods.visualize import resized
from skelssl.pages import explore
from skelssl.pages.clip_figures import recipe_players, recorded_player
from skelssl.pages.figures.pose import pose_upright
from skelssl.pretrained.files import save_encoders
from skelssl.skeleton.layout import load_layout
from skelssl.views.pstl import PSTLView
from tests.helpers.bodies import body, clip_of, on
from tests.helpers.clips import make_clip
from tests.helpers.config import TINY_DATA, train_config
from tests.helpers.ntu_text import format_skeleton
from tests.helpers.page import figures
from tests.helpers.shared import data, shared

NAME = "S001C001P001R001A001"
BODY = load_layout("ntu25")


def run(root: Path, *overrides: str) -> None:
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = hydra.compose("explore", [f"data_root='{root}'", "debug=smoke", *overrides])
    explore.write_explore_page(config)


def facts(html: str) -> dict[str, str]:
    return {k: text.unescape(v) for k, v in re.findall(r"<tr><th>([^<]*)</th><td>([^<]*)</td></tr>", html)}


def reasons(html: str) -> dict[str, str]:
    notes = re.findall(r"<li>(.*?)</li>", html)
    return {key: why for key, _, why in (text.unescape(note).partition(": ") for note in notes)}


def posed(x: np.ndarray) -> np.ndarray:
    """(T, M, V, 3) as the player gets it, in thousandths."""
    return 1000 * pose_upright(x.astype(np.float64), np.any(x, axis=(2, 3)), BODY)


def drawn(clip: dict[str, Any], joints: int = 25) -> np.ndarray:
    return np.array(clip["x"]).reshape(len(clip["x"]), -1, joints, 3)


def prepared(root: Path, clips: list[RawClip]) -> Path:
    """A store of NTU-60 from files of these clips."""
    raw = root / "raw"
    raw.mkdir()
    for clip in clips:
        (raw / f"{clip.name}.skeleton").write_bytes(format_skeleton(clip))
    (raw / "S001C001P002R001A009.skeleton").write_bytes(b"")
    build_parsed(NTU(), [raw], parsed_folder(root, NTU()), workers=1, strict=False, progress=False)
    return raw


def test_a_synthetic_clip_is_made_on_first_use(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data_root, *TINY_DATA, f"name={NAME}", "draws=3")
    path = data_root / "synthetic-4-4-1-0" / "v1" / "explore" / f"{NAME}.html"
    assert f"-> {path}" in capsys.readouterr().out
    html = path.read_text("utf-8")
    raw, recipes, views, masks = figures(html, "player")
    titles = [clip["title"] for clip in recipes["clips"]]
    assert [t for t in titles if "fixed" not in t] == ["aimclr", "ctrgcn", "agcn", "pyskl"]
    assert [clip["title"] for clip in views["clips"]] == ["draw 1", "draw 2", "draw 3"]
    assert [c["title"] for c in masks["clips"]] == [
        "anchor: unmasked",
        "spatial view: CSM",
        "temporal view: MATM",
    ]
    assert len(masks["clips"][2]["kept"]) == 30
    found = facts(html)
    assert (found["class"], found["subject"], found["camera"]) == ("drink (label 0)", "1", "1")
    assert (found["split xsub"], found["split xview"]) == ("train", "test")
    assert found["frames"] == f"{len(raw['clips'][0]['x'])}, of which 0 without a body"
    assert not reasons(html)


def test_figures_are_what_the_recipes_and_the_view_give(tmp_path: Path) -> None:
    pair = clip_of({11: on(range(60), body(60, motion=0.3)), 12: on(range(9, 60), body(51, seed=1))}, 60)
    path = tmp_path / f"{NAME}.skeleton"
    path.write_bytes(format_skeleton(pair))
    run(tmp_path, f"name={path}", f"html={tmp_path / 'page.html'}", "draws=2", "seed=5")
    raw, recipes, views, _ = figures((tmp_path / "page.html").read_text("utf-8"), "player")
    clips = {clip["title"]: drawn(clip) for clip in recipes["clips"]}
    aimclr = process_file(path, "aimclr")  # (3, 50, 25, 2)
    assert clips["aimclr"] == pytest.approx(posed(aimclr.transpose(1, 3, 2, 0)), abs=0.51)
    ctrgcn = process_file(path, "ctrgcn")
    assert clips["ctrgcn"] == pytest.approx(posed(ctrgcn.reshape(-1, 2, 25, 3)), abs=0.51)
    assert "aimclr, fixed" in clips  # it keeps the distance of the two
    assert "ctrgcn, fixed" not in clips  # nothing about this clip is a quirk of that recipe
    assert raw["clips"][0]["bodies"] == ["11", "12"]
    assert [sum(there) for there in zip(*raw["clips"][0]["present"], strict=True)] == [60, 51]

    x, dice = torch.from_numpy(aimclr.copy())[None], torch.Generator().manual_seed(5)
    batch = type("Batch", (), {"x": x})
    wanted = [PSTLView()(batch, dice)[0].permute(1, 3, 2, 0).numpy() for _ in range(2)]  # type: ignore[arg-type]
    for clip, view in zip(views["clips"], wanted, strict=True):
        assert drawn(clip) == pytest.approx(posed(view), abs=0.51)


def test_recorded_bodies_keep_their_order_and_places() -> None:
    late, early = body(3, seed=1), body(4, seed=2)
    shown = recorded_player(clip_of({72057594037944738: on([1, 2, 4, 5], early), 5: on([3, 4, 5], late)}, 7))
    assert shown.bodies == ["72057594037944738", "5"]
    assert shown.x.shape == (7, 25, 3, 2)
    assert shown.x[[1, 2, 4, 5], ..., 0] == pytest.approx(early)
    assert shown.x[3:6, ..., 1] == pytest.approx(late)
    assert not shown.x[[0, 3, 6], ..., 0].any()
    assert not shown.x[:3, ..., 1].any()


def test_published_settings_of_the_data_set_reach_its_recipe() -> None:
    one = clip_of({1: on(range(20), body(20))}, 20)
    plain, _ = recipe_players(one, "ntu25", {"center": True, "single_person_fill": "zero"})
    twins, _ = recipe_players(one, "ntu25", {"center": False, "single_person_fill": "copy"})
    (first,) = (clip.x for clip in plain if clip.title == "ctrgcn")
    (second,) = (clip.x for clip in twins if clip.title == "ctrgcn")
    assert not first[..., 1].any()
    assert first[0, 1, :, 0] == pytest.approx(0)
    np.testing.assert_array_equal(second[..., 1], second[..., 0])
    assert second[..., 0] == pytest.approx(one.bodies)


def test_a_recipe_that_cannot_use_the_clip_says_why() -> None:
    short = clip_of({1: on(range(5), body(5)), 2: on(range(5), body(5, seed=1))}, 5)
    shown, refused = recipe_players(short, "ntu25", {})
    assert refused == dict.fromkeys(("ctrgcn", "pyskl"), "every body is listed in fewer than 12 frames")
    assert {"ctrgcn, fixed", "pyskl, fixed", "aimclr", "agcn"} <= {clip.title for clip in shown}


def test_splits_duplicates_and_codes_are_facts(tmp_path: Path) -> None:
    names = [NAME, "S001C002P001R001A001", "S001C003P001R001A001"]
    prepared(tmp_path, [make_clip(name, seed=i // 2) for i, name in enumerate(names)])
    run(tmp_path, "dataset=ntu60", f"name={NAME}")
    found = facts((tmp_path / "ntu60" / "v1" / "explore" / f"{NAME}.html").read_text("utf-8"))
    assert found["same content as"] == names[1]
    assert (found["split xsub"], found["split xview"]) == ("train", "test")
    assert "D17: same content under several names" in found["codes"]  # known to the report alone
    assert "D15: fewer than 8 frames" in found["codes"]
    assert found["class"] == "drink water (label 0)"
    index = json.loads((tmp_path / "ntu60" / "v1" / "parsed" / "index.json").read_text())
    assert found["content (SHA-1)"] == index["sha1"][0]


def test_names_that_are_not_there(tmp_path: Path) -> None:
    prepared(tmp_path, [make_clip(NAME), make_clip("S017C003P003R002A060", seed=1)])
    for name, sentence in (
        ("S001C001P001R001A0O1", f"name=S001C001P001R001A0O1: found no such clip among 2 of ntu60, .* such as {NAME}"),
        ("?", f"expected one such as {NAME}$"),
        ("S001C001P002R001A009", r"left out of ntu60 \(D01: empty file\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            run(tmp_path, "dataset=ntu60", f"name='{name}'")
    with pytest.raises(UserError, match="expected the prepared ntu120"):
        run(tmp_path, "dataset=ntu120", f"name={NAME}")
    assert not (tmp_path / "ntu60" / "v1" / "explore").exists()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [("S001C001P001R001A001", b"", r"empty file \(D01\)"), ("S001C001P001R001A001", b"2 1", r"\(D02\)"),
     ("mine", b"1 0", r"\(D21\)"), ("gone", None, "cannot be read")],
)  # fmt: skip
def test_bad_files_are_one_sentence_with_their_code(
    tmp_path: Path, file: str, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / f"{file}.skeleton"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"name={re.escape(str(path))}: .*{sentence}"):
        run(tmp_path, f"name={path}")


def test_imported_arrays_show_their_own_recipe_alone(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 2, 25, 3)).astype(np.float32)
    clip = RawClip.of_persons("row 7", 0, x, form="ctrgcn")
    index, folder = ClipIndex(), tmp_path / "ntu60" / "v1"
    index.add(clip)
    (folder / "parsed").mkdir(parents=True)
    meta = {
        "dataset": "ntu60",
        "layout": "ntu25",
        "form": "ctrgcn",
        "inputs": "",
        "class_names": ["drink"],
        "arguments": {},
    }
    write_store(folder / "parsed", [pack([clip])], index, meta)
    (folder / "report.json").write_text(json.dumps({"skipped": [], "warnings": {}}))
    run(tmp_path, "dataset=ntu60", "name='row 7'")
    html = (folder / "explore" / "row 7.html").read_text("utf-8")
    _, recipes = figures(html, "player")
    (shown,) = recipes["clips"]
    assert shown["title"] == "ctrgcn"
    assert drawn(shown) == pytest.approx(posed(x), abs=0.51)
    refused = reasons(html)
    assert list(refused) == ["aimclr", "ctrgcn, fixed", "agcn", "pyskl", "augmentations of pstl"]
    assert all("found arrays imported in the form of recipe ctrgcn" in why for why in refused.values())
    assert facts(html)["form"] == "imported as recipe ctrgcn made it"


def test_another_body_and_another_method(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 1, 20, 3)).astype(np.float32)
    clip = RawClip.of_persons("walk/1", 0, x, form=PERSONS)
    index, folder = ClipIndex(), tmp_path / "mine" / "v1"
    index.add(clip)
    (folder / "parsed").mkdir(parents=True)
    meta = {
        "dataset": "mine",
        "layout": "kinect20",
        "form": PERSONS,
        "inputs": "",
        "class_names": ["walk"],
        "arguments": {},
    }
    write_store(folder / "parsed", [pack([clip])], index, meta)
    (folder / "report.json").write_text(json.dumps({"skipped": [], "warnings": {}}))
    run(tmp_path, "dataset=custom", "dataset.name=mine", "name=walk/1", "method=mamp")
    html = (folder / "explore" / "walk_1.html").read_text("utf-8")
    raw, recipes, views, masks = figures(html, "player")
    assert (len(raw["side"]), len(recipes["clips"][0]["x"][0])) == (20, 2)
    assert drawn(raw["clips"][0], 20) == pytest.approx(
        1000 * pose_upright(x.astype(float), np.ones((40, 1), bool), load_layout("kinect20")), abs=0.51
    )
    assert len(views["clips"]) == 4
    assert [clip["tokens"]["kind"] for clip in masks["clips"]] == ["hidden", "hidden", "weight"]
    for clip in masks["clips"]:
        first, second = clip["tokens"]["cells"]
        assert np.shape(first) == (3, 20)
        assert second is None
        assert clip["note"].endswith("person 2: absent")


def test_a_run_draws_with_what_it_learnt(data_root: Path, tmp_path: Path) -> None:
    config = train_config(data_root, "method=ha_cm", "seed=3")
    method, folder = build_method(config), tmp_path / "a run, (1)"
    with torch.no_grad():
        method.encoder.positions.space.uniform_(-3, 3)
    save_encoders(method.encoders(), folder / "encoder", config, None)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    page = tmp_path / "page.html"
    with pytest.raises(UserError, match=r"checkpoint: found no finished run at .*, expected the folder of one"):
        run(data_root, *TINY_DATA, f"name={NAME}", f"checkpoint='{folder}'", f"html={page}")
    (folder / "run.json").write_text("{}")
    run(data_root, *TINY_DATA, f"name={NAME}", f"checkpoint='{folder}'", f"html={page}")
    *_, views, masks = figures(page.read_text("utf-8"), "player")
    assert len(views["clips"][0]["x"]) == 12  # frames of the run's view, not of the default method's
    drawn_again = load_trained_method(config, folder).masking.scores(method.encoder, clip_of_page(data_root, config))
    weights = np.array(masks["clips"][4]["tokens"]["cells"][0])[:, list(method.encoder.joints)]
    above = (drawn_again.hierarchy[0] - drawn_again.hierarchy[0].min()).numpy()
    np.testing.assert_array_equal(weights, np.rint(9 * above / above.max()))


def test_of_a_run_on_another_stream_positions_are_drawn(data_root: Path, tmp_path: Path) -> None:
    pages = []
    for stream in ("joint", "motion"):
        config, folder = train_config(data_root, "method=mamp", f"stream={stream}"), tmp_path / stream
        save_encoders(build_method(config).encoders(), folder / "encoder", config, None)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "run.json").write_text("{}")
        run(data_root, *TINY_DATA, f"name={NAME}", f"checkpoint='{folder}'", f"html={folder}.html")
        *_, views, _ = figures(Path(f"{folder}.html").read_text("utf-8"), "player")
        pages.append([clip["x"] for clip in views["clips"]])
    assert pages[0] == pages[1]


def clip_of_page(data_root: Path, config: dict[str, Any]) -> torch.Tensor:
    """(1, 3, T', V, M): the whole clip on the run's grid, as its method shows it."""
    store = open_dataset(config["dataset"], config["method"]["recipe"], str(data_root)).store
    batch = store.gather(np.array([store.names.index(NAME)]))
    return resized(batch.x[:, :, : int(batch.frames[0])], config["method"]["encoder"]["frames"])


def test_a_run_on_another_body_is_refused(data_root: Path, tmp_path: Path) -> None:
    config = train_config(data_root, "method=mamp")
    config["dataset"]["layout"] = "kinect20"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="checkpoint: found a run on layout kinect20, expected one on ntu25"):
        run(data_root, *TINY_DATA, f"name={NAME}", f"checkpoint='{tmp_path}'")


def test_the_page_of_a_set(data_root: Path) -> None:
    run(data_root, *TINY_DATA)
    html = (data_root / "synthetic-4-4-1-0" / "v1" / "explore" / "index.html").read_text("utf-8")
    assert facts(html)["clips"] == "48 of 48 in the complete dataset"
    assert facts(html)["split xview"].startswith("train 32")
    assert len(re.findall(r"<td>12</td>", html)) == 4  # clips of each class


@pytest.mark.parametrize(
    ("argument", "sentence"), [("stream=motion", "expected joint"), ("draws=0", "at least 1"), ("seed=x", "at least 0")]
)
def test_options_out_of_range(tmp_path: Path, argument: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        run(tmp_path, argument)


def test_the_command_takes_odd_paths_and_ends_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a b, c=(1)" / f"{NAME}.skeleton"
    path.parent.mkdir()
    path.write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "skelssl", "explore", f"name={path}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: name={path}: empty file (D01), expected a usable recording\n"


@shared
def test_real_and_damaged_recordings(tmp_path: Path) -> None:
    path = data("ntu_raw", "files", "S001C003P008R002A058.skeleton")
    run(tmp_path, f"name='{path}'", "html=" + str(tmp_path / "two.html"))
    html = (tmp_path / "two.html").read_text("utf-8")
    raw, recipes, *_ = figures(html, "player")
    assert raw["clips"][0]["bodies"] == ["72057594037944738", "72057594037944734"]
    aimclr = next(drawn(c) for c in recipes["clips"] if c["title"] == "aimclr")
    with np.load(data("ntu_raw", "golden", f"files__{path.stem}.npz")) as golden:
        assert aimclr == pytest.approx(posed(golden["b_position"].transpose(1, 3, 2, 0)), abs=0.6)
    assert "D11" in facts(html)["codes"]
    path = next(data("ntu_raw", "damaged").glob("*A050.skeleton"))
    run(tmp_path, f"name='{path}'", "html=" + str(tmp_path / "ghost.html"))
    assert "D06" in facts((tmp_path / "ghost.html").read_text("utf-8"))["codes"]
