"""Sets in other bodies and in the plane of an image, from prepare to the page of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest

from skelssl import load_encoder
from skelssl.cli.prepare import prepare_command
from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.core.identity import IMPLIED, run_id
from skelssl.data.build.prepare import prepare_dataset
from skelssl.data.custom.arrays import in_plane, read_clip_array
from skelssl.data.custom.source import Custom
from skelssl.data.recipes import RECIPES, RecipeConfig
from skelssl.data.report import Report
from skelssl.data.source import BadInput
from skelssl.data.synthetic import Synthetic
from skelssl.pages import explore
from skelssl.pages.run_page import open_run, raw_floors, write_page
from skelssl.protocols.bench import evaluate
from skelssl.skeleton.layout import layouts, load_layout
from skelssl.skeleton.mapping import joint_map
from skelssl.training.loop import train
from skelssl.views.pstl import PlainView
from tests.helpers.config import compose, train_config
from tests.helpers.custom import built, save
from tests.helpers.page import figures

COCO = load_layout("coco17")


def write_synthetic(root: Path, body: str, *, flat: bool) -> Path:
    """Clips of the synthetic set in the joints of ``body``; ``flat`` in pixels with confidence, as a pose tool sees."""
    source, change = Synthetic(classes=3, subjects=4), joint_map(load_layout("ntu25"), load_layout(body))
    recipe = RecipeConfig.parse({"name": "ctrgcn", "faithful": False, "center": False}).build()
    dice = np.random.default_rng(0)
    for entry in source.entries([], Report("synthetic")):
        [clip] = source.read(entry)
        x, seen = change.apply(recipe.select(clip))
        if flat:
            seen = seen * dice.uniform(0.3, 1, seen.shape)
            x = np.concatenate([500 * x[..., :2], seen[..., None]], -1)
        name = root / source.class_names[clip.label] / f"{clip.name}.npz"
        save(name, x.astype(np.float32), subject=clip.facts["subject"])
    return root


def trained(tmp_path: Path, settings: Sequence[str], *more: str) -> Path:
    block = compose("prepare", *settings)["dataset"]["source"]
    source = Custom(**{**{k: v for k, v in block.items() if k[0] != "_"}, "test": {"subject": [3]}})
    prepare_dataset(source, data_root=tmp_path, raw=[tmp_path / "raw"], workers=1, strict=True)
    train(compose("train", *settings, *more, "debug=smoke", "callbacks.progress=null"), tmp_path / "run")
    return tmp_path / "run"


def evaluated(run: Path, settings: Sequence[str], protocol: str) -> dict[str, Any]:
    config = compose("evaluate", f"protocol={protocol}", f"checkpoint='{run}'", *settings, "debug=smoke")
    [done] = evaluate(config, [config["protocol"]])
    return done.result


@pytest.mark.parametrize(("coordinates", "method"), [("xyz", "mamp"), ("xyc", "pstl"), ("xyc", "ha_cm")])
def test_a_set_of_17_joints(tmp_path: Path, coordinates: str, method: str) -> None:
    write_synthetic(tmp_path / "raw", "coco17", flat=coordinates == "xyc")
    settings = ("dataset=custom", "dataset.name=mine", "dataset.layout=coco17", f"dataset.coordinates={coordinates}",
                f"data_root='{tmp_path}'")  # fmt: skip
    run = trained(tmp_path, settings, f"method={method}")
    about = read_json(run / "encoder" / "config.json")
    assert (about["coordinates"], about["recipe"]["coordinates"]) == (coordinates, coordinates)
    encoder = load_encoder(run)
    assert (encoder.coordinates, encoder.layout.name) == (coordinates, "coco17")
    assert evaluated(run, settings, "knn")["n_test"] == 6
    lost = evaluated(run, settings, "lost_joints")
    assert {"left_arm", "right_leg"} <= {row["lost"] for row in lost["curve"]}
    _, data = open_run(run)
    floors = raw_floors(data)
    assert 0 <= floors["knn"] <= 1
    write_page(run, tmp_path / "run.html", floors)
    player = figures((tmp_path / "run.html").read_text("utf-8"), "player")[0]
    depth = np.array(player["clips"][0]["x"]).reshape(-1, 17, 3)[..., 2]
    assert (depth == 0).all() == (coordinates == "xyc")


@pytest.fixture(scope="module")
def flat_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("flat")
    write_synthetic(root / "raw", "coco17", flat=True)
    source = Custom("mine", layout="coco17", coordinates="xyc", test={"subject": [3]})
    prepare_dataset(source, data_root=root, raw=[root / "raw"], workers=1, strict=True)
    return root


FLAT = ("dataset=custom", "dataset.name=mine", "dataset.layout=coco17")


def test_what_does_not_fit_the_store_is_refused(flat_set: Path, tmp_path: Path) -> None:
    where = (f"data_root='{flat_set}'", "debug=smoke", "callbacks.progress=null")
    with pytest.raises(UserError, match=r"^dataset\.coordinates: found xyz, expected xyc, which .*mine.* was prepared"):
        train(compose("train", *FLAT, *where), tmp_path / "run")
    with pytest.raises(UserError, match=r"^dataset=mine: found clips of xyc, expected xyz, which the recipe takes"):
        train(
            compose("train", *FLAT, "dataset.coordinates=xyc", "method.recipe.coordinates=xyz", *where),
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_recordings_in_space_have_no_confidence(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset\.coordinates: found xyc, expected xyz, the coordinates of synth"):
        train(train_config(data_root, "dataset.coordinates=xyc"), tmp_path / "run")
    with hydra.initialize_config_dir(str(config_dir()), version_base=None):
        config = hydra.compose("prepare", ["dataset=ntu60", "dataset.coordinates=xyc", f"raw='{tmp_path}'"])
    with pytest.raises(UserError, match=r"^dataset\.coordinates: found xyc, expected xyz, the coordinates of ntu60"):
        prepare_command(config)


def test_an_encoder_of_space_is_not_tested_in_a_plane(flat_set: Path, data_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(train_config(data_root, "method=pstl"), run)
    config = compose("evaluate", "protocol=knn", f"checkpoint='{run}'", *FLAT, "dataset.coordinates=xyc",
                     f"data_root='{flat_set}'")  # fmt: skip
    with pytest.raises(UserError, match=r"^dataset=mine: found clips of xyc, expected xyz, which the recipe takes"):
        evaluate(config, [config["protocol"]])


def test_the_page_of_a_flat_clip(flat_set: Path) -> None:
    names = json.loads((flat_set / "mine" / "v1" / "splits" / "custom.json").read_text())["train"]
    page = flat_set / "clip.html"
    with hydra.initialize_config_dir(str(config_dir()), version_base=None):
        config = hydra.compose("explore", [*FLAT, "method=mamp", f"data_root='{flat_set}'", f"name='{names[0]}'",
                                           f"html='{page}'", "debug=smoke"])  # fmt: skip
    explore.write_explore_page(config)
    players = figures(page.read_text("utf-8"), "player")
    assert len(players) == 4  # recorded, recipes, views, masks
    for player in players:
        for clip in player["clips"]:
            assert not np.array(clip["x"]).reshape(-1, 17, 3)[..., 2].any()


# --- what a clip on disk may be --------------------------------------------------------------------------------------


def test_confidence_of_what_was_not_seen() -> None:
    x = np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 2.0], [0.0, 2.0]], np.float32)[None, None]
    wanted = [[3, 4, 1], [0, 0, 0], [0, 0, 0], [0, 2, 1]]
    np.testing.assert_array_equal(in_plane(x)[0, 0], wanted)
    y = np.array([[3, 4, 0.5], [5, 6, 0], [np.nan, 2, 0.9], [0, 0, 0.7], [1, 1, np.nan]], np.float32)[None, None]
    wanted = [[3, 4, 0.5], [0, 0, 0], [0, 0, 0], [0, 0, 0.7], [0, 0, 0]]
    np.testing.assert_allclose(in_plane(y)[0, 0], wanted)
    for odd in (-0.1, 3.2):
        with pytest.raises(BadInput, match=rf"found confidence {odd} in the third place, expected numbers of 0 to 1"):
            in_plane(np.full((1, 1, 1, 3), odd, np.float32))


def test_arrays_of_two_and_of_three_numbers(tmp_path: Path) -> None:
    dice, raw = np.random.default_rng(0), tmp_path / "raw"
    two = dice.normal(size=(5, 17, 2)).astype(np.float32)
    three = np.concatenate([two, dice.uniform(0.1, 1, (5, 17, 1)).astype(np.float32)], -1)
    save(raw / "a" / "two.npy", two)
    save(raw / "b" / "three.npy", np.stack([three, three[::-1]], 1))
    save(raw / "b" / "space.npy", dice.normal((0, 0, 3), 0.1, (5, 17, 3)))
    save(raw / "b" / "four.npy", dice.normal(size=(5, 17, 4)))
    (tmp_path / "names.txt").write_text("b/three")
    source = Custom(layout="coco17", coordinates="xyc", test={"names": str(tmp_path / "names.txt")})
    store, report = built(tmp_path, raw, source)
    assert store.coordinates == "xyc"
    by_name = {clip.name: clip for clip in store.clips()}
    np.testing.assert_array_equal(
        by_name["a/two"].persons(1)[:, 0], np.pad(two, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    )
    np.testing.assert_array_equal(by_name["b/three"].persons()[:, 1], three[::-1])
    reasons = {skip.name: skip.reason for skip in report.skipped}
    assert len(reasons) == 2
    assert "in the third place, expected numbers of 0 to 1 (xyc)" in reasons["b/space"]
    assert "found shape (5, 17, 4), expected (T, 17, 2 or 3) or (T, M, 17, 2 or 3) of coco17" in reasons["b/four"]


def test_two_numbers_in_space_are_told_about_planes(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.ones((5, 17, 2)))
    with pytest.raises(BadInput, match=r"of coco17; 2-D clips need dataset\.coordinates=xyc$"):
        read_clip_array(path, COCO)


def test_other_coordinates_are_another_store(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for i in range(4):
        save(raw / "a" / f"{i}.npy", np.random.default_rng(i).uniform(0.1, 1, (5, 17, 3)))
    rule = {"share": 0.5}
    space, first = built(tmp_path, raw, Custom(layout="coco17", test=rule))
    plane, second = built(tmp_path, raw, Custom(layout="coco17", coordinates="xyc", test=rule))
    assert first.built
    assert second.built
    assert (space.coordinates, plane.coordinates) == ("xyz", "xyc")


def test_runs_of_before_keep_their_ids() -> None:
    config = compose("train", "method=mamp", "dataset=ntu60_xsub")

    def without(block: Any) -> Any:
        if not isinstance(block, dict):
            return block
        return {key: without(value) for key, value in block.items() if key not in IMPLIED}

    assert run_id(config) == run_id(without(config))
    flat = compose("train", "method=mamp", "dataset=ntu60_xsub", "dataset.coordinates=xyc")
    assert run_id(config) != run_id(flat)


def test_a_view_that_knows_no_coordinates_sees_space() -> None:
    """Views of runs of before have no such key."""
    config = compose("train", "method=pstl")
    block = {k: v for k, v in config["method"]["view"]["test"].items() if k not in ("coordinates", "_target_")}
    assert PlainView(**block).coordinates == "xyz"


# --- the page that explains it ---------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "layouts.md").read_text("utf-8")


def test_the_layout_on_the_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "stick.yaml").write_text(PAGE.partition("```yaml\n")[2].partition("```")[0])
    body = load_layout(str(tmp_path / "stick.yaml"))
    assert (len(body.joints), body.point("spine_mid")) == (13, (0, 1))
    for recipe in RECIPES:
        RecipeConfig.parse({"name": recipe}).build(str(tmp_path / "stick.yaml"))


def test_the_table_lists_every_layout() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 7]
    found = {row[1].strip(" `"): (int(row[2]), row[4].strip(" `")) for row in rows if row[2].strip().isdigit()}
    bodies = {name: load_layout(name) for name in layouts()}
    assert found == {name: (len(body.joints), body.joints[body.center]) for name, body in bodies.items()}
