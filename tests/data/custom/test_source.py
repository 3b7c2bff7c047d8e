"""A set of one's own: who tests, what makes it anew, and that it trains in any layout."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.data.build.prepare import build_parsed, prepare_dataset
from skelssl.data.clip import RawClip
from skelssl.data.custom.source import Custom
from skelssl.data.ntu.source import parse_skeleton
from skelssl.data.recipes import RECIPES, RecipeConfig
from skelssl.data.report import Report
from skelssl.data.split import ClipTable
from skelssl.data.synthetic import Synthetic
from skelssl.protocols.bench import evaluate
from skelssl.skeleton.layout import load_layout
from skelssl.training.loop import train
from tests.helpers.config import compose
from tests.helpers.custom import built, points, save, sides, small_set, write_index
from tests.helpers.shared import data, shared

OF_NTU = [load_layout("ntu25").index(joint) for joint in load_layout("kinect20").joints]


# --- who tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "test"),
    [
        ({"subject": [2]}, ["sit/s2", "walk/s2"]),
        ({"subject": [3, 1]}, ["sit/s1", "sit/s3", "walk/s1", "walk/s3"]),
        ({"camera": [1]}, ["sit/s2", "walk/s2"]),
        ({"setup": [1]}, ["walk/s1", "walk/s2", "walk/s3"]),
    ],
)
def test_a_rule_by_a_fact(tmp_path: Path, rule: dict[str, Any], test: list[str]) -> None:
    store, _ = built(tmp_path, small_set(tmp_path / "raw"), Custom(test=rule), strict=True)
    assert sides(tmp_path) == ([name for name in store.names if name not in test], test)


def test_a_rule_by_a_list_of_names(tmp_path: Path) -> None:
    raw, names = small_set(tmp_path / "raw"), tmp_path / "names.txt"
    names.write_text("walk/s3\r\n\r\nsit/s1\r\n")
    built(tmp_path, raw, Custom(test={"names": str(names)}))
    assert sides(tmp_path)[1] == ["sit/s1", "walk/s3"]
    names.write_text("sit/s1\nsit/s9\n")
    with pytest.raises(UserError, match=r"names: found sit/s9, expected names of clips such as sit/s1"):
        built(tmp_path, raw, Custom(test={"names": str(names)}))
    with pytest.raises(UserError, match=r"names: gone.txt cannot be read"):
        built(tmp_path, raw, Custom(test={"names": "gone.txt"}))


def test_the_index_may_say_who_tests(tmp_path: Path) -> None:
    small_set(tmp_path)
    lines = [{"file": f"{c}/s{s}.npz", "label": c, "split": side} for c in ("sit", "walk")
             for s, side in ((1, "train"), (2, "test"))]  # fmt: skip
    index = write_index(tmp_path / "index.jsonl", *lines)
    built(tmp_path, index, strict=True)
    assert sides(tmp_path) == (["sit/s1", "walk/s1"], ["sit/s2", "walk/s2"])
    with pytest.raises(UserError, match="expected null, since the index contains split"):
        built(tmp_path, index, Custom(test={"subject": [1]}))


def table(subjects: list[int], labels: list[int]) -> ClipTable:
    return ClipTable([f"c{i:03}" for i in range(len(labels))], np.array(labels), {"subject": np.array(subjects)})


def test_a_share_takes_whole_subjects(tmp_path: Path) -> None:
    clips = table([s for s in range(10) for _ in range(7)], [c for _ in range(10) for c in range(7)])
    drawn = [Custom(test={"share": 0.3, "seed": seed}).split("custom", clips) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0].test) == 21
    chosen = {int(name[1:]) // 7 for name in drawn[0].test}
    assert len(chosen) == 3
    assert {int(name[1:]) // 7 for name in drawn[0].train} == set(range(10)) - chosen


@pytest.mark.parametrize("subjects", [[-1] * 41, [5] * 41, [*range(40), -1]])
def test_without_subjects_a_share_is_drawn_from_each_class(subjects: list[int]) -> None:
    labels = [0] * 20 + [1] * 18 + [2] * 2 + [3]
    split = Custom(test={"share": 0.25}).split("custom", table(subjects, labels))
    assert [sum(labels[int(name[1:])] == c for name in split.test) for c in range(4)] == [5, 4, 1, 0]
    assert sorted(split.train + split.test) == [f"c{i:03}" for i in range(41)]


def test_without_a_rule_a_fifth_is_drawn_and_said(tmp_path: Path) -> None:
    _, report = built(tmp_path, small_set(tmp_path / "raw", subjects=5))
    assert "dataset.source.test: not given, so {'share': 0.2, 'seed': 0} decides the test split" in report.notes
    assert len({name[-1] for name in sides(tmp_path)[1]}) == 1


@pytest.mark.parametrize(
    "rule",
    [
        {"subject": [1], "camera": [1]}, {"subject": []}, {"subject": 1}, {"subject": ["1"]}, {"subjects": [1]},
        {"share": 0}, {"share": 1.0}, {"share": 0.2, "seed": -1}, {"subject": [1], "seed": 0}, {"seed": 0},
        {"names": 3},
    ],
)  # fmt: skip
def test_a_rule_that_is_none(rule: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"dataset\.source\.test: found \{.*, expected one of \{subject: \[2,4\]\}"):
        Custom(test=rule)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"subject": [2, 9]}, r"found no clip of subject 9, expected some of \[1, 2, 3\]"),
        ({"setup": [0, 1]}, "found no training clip among 6"),
    ],
)
def test_a_rule_that_does_not_fit(tmp_path: Path, rule: dict[str, Any], sentence: str) -> None:
    raw = small_set(tmp_path / "raw")
    with pytest.raises(UserError, match=sentence):
        built(tmp_path, raw, Custom(test=rule))
    save(raw / "sit" / "x.npy", points())
    with pytest.raises(UserError, match=rf"found no {next(iter(rule))} of sit/x, expected one per clip"):
        built(tmp_path, raw, Custom(test=rule))


@pytest.mark.parametrize("name", ["ntu60", "a/b", "", ".."])
def test_names_of_sets(name: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.name: found"):
        Custom(name)
    with pytest.raises(UserError, match="found 'xsub', expected one of custom"):
        Custom().split("xsub", table([1], [0]))


# --- the store -------------------------------------------------------------------------------------------------------


def test_bytes_do_not_depend_on_workers(tmp_path: Path) -> None:
    raw = small_set(tmp_path / "raw", subjects=6)
    stores = []
    for workers, size in ((1, 5), (2, 3)):
        folder = tmp_path / str(workers) / "parsed"
        build_parsed(Custom(), [raw], folder, workers=workers, strict=True, shard_size=size, progress=False)
        stores.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert stores[0] == stores[1]


def test_a_new_rule_writes_the_split_and_new_labels_the_store(tmp_path: Path) -> None:
    raw = small_set(tmp_path / "raw")
    assert built(tmp_path, raw, Custom(test={"subject": [1]}))[1].built
    store, again = built(tmp_path, raw, Custom(test={"subject": [2]}))
    assert not again.built
    assert sides(tmp_path)[1] == ["sit/s2", "walk/s2"]
    (raw / "walk").rename(raw / "run")
    renamed, report = built(tmp_path, raw, Custom(test={"subject": [2]}))
    assert report.built
    assert (renamed.class_names, renamed.fingerprint != store.fingerprint) == (["run", "sit"], True)
    (raw / "run" / "s1.npz").unlink()
    save(raw / "run" / "s1.npz", points(seed=11)[:, 0], subject=2, camera=2, setup=1)
    assert built(tmp_path, raw, Custom(test={"subject": [2]}))[0].facts["subject"].tolist() == [2, 2, 3, 1, 2, 3]


def test_equal_clips(tmp_path: Path) -> None:
    raw = small_set(tmp_path / "raw")
    save(raw / "sit" / "copy.npz", points(seed=1)[:, 0], subject=2)
    _, report = built(tmp_path, raw, Custom(test={"subject": [2]}))
    assert report.leaks == {"custom": [["sit/copy", "sit/s1"]]}
    with pytest.raises(UserError, match=r"equal clips on both sides of custom \(D17\): sit/copy = sit/s1"):
        built(tmp_path, raw, Custom(test={"subject": [2]}), strict=None)


def test_the_same_root_twice_counts_once(tmp_path: Path) -> None:
    raw = small_set(tmp_path / "raw")
    report = Report("custom")
    assert len(Custom().entries([raw, raw], report)) == 6
    assert len(report.warned["D18"]) == 6


def test_workers_need_no_torch() -> None:
    code = "import sys, skelssl.data.custom.source; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert pickle.loads(pickle.dumps(Custom(layout="kinect20"))).layout == "kinect20"


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faithful", [True, False])
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_find_the_joints_of_kinect20(name: str, faithful: bool) -> None:
    recipe = RecipeConfig.parse({"name": name, "faithful": faithful})
    x = points(frames=20, persons=2, seed=3)
    x[:4, 1] = x[9, 1] = 0
    results = []
    for body, order in (("ntu25", slice(None)), ("kinect20", OF_NTU)):
        stages = recipe.build(body)
        results.append(stages.normalise(stages.select(RawClip.of_persons("a", 0, x[:, :, order]))))
    assert np.abs(results[0]).max() > 0.1
    np.testing.assert_array_equal(results[1], results[0][:, :, OF_NTU])


def write_synthetic(root: Path, body: str) -> Path:
    source = Synthetic(classes=3, subjects=4)
    recipe = RecipeConfig.parse({"name": "ctrgcn", "faithful": False, "center": False}).build()
    for entry in source.entries([], Report("synthetic")):
        [clip] = source.read(entry)
        x = recipe.select(clip)
        save(
            root / source.class_names[clip.label] / f"{clip.name}.npz",
            x if body == "ntu25" else x[:, 0, OF_NTU],
            subject=clip.facts["subject"],
        )
    return root


@pytest.mark.parametrize("body", ["ntu25", "kinect20", "mine.yaml"])
def test_a_set_of_ones_own_trains_and_is_evaluated(tmp_path: Path, body: str) -> None:
    if body.endswith(".yaml"):
        text = (files("skelssl.skeleton") / "layouts" / "kinect20.yaml").read_text()
        (tmp_path / body).write_text(text.replace("name: kinect20", "name: mine"))
        body = str(tmp_path / body)
    raw = write_synthetic(tmp_path / "raw", body)
    settings = ("dataset=custom", "dataset.name=mine", f"dataset.layout='{body}'", f"data_root='{tmp_path}'")
    source = Custom(**{k: v for k, v in compose("prepare", *settings)["dataset"]["source"].items() if k[0] != "_"})
    source.test = {"subject": [3]}
    prepare_dataset(source, data_root=tmp_path, raw=[raw], workers=1, strict=True)
    run = tmp_path / "run"
    train(compose("train", "method=pstl", *settings, "debug=smoke", "callbacks.progress=null"), run)
    about = read_json(run / "run.json")
    assert (about["steps"], about["dataset"]) == (2, "mine")
    config = compose("evaluate", "protocol=knn", f"checkpoint='{run}'", *settings)
    [done] = evaluate(config, [config["protocol"]])
    assert (done.result["n_train"], done.result["n_test"]) == (27, 9)
    assert done.result["data_fingerprint"] == about["data_fingerprint"]
    wrong = "kinect20" if body == "ntu25" else "ntu25"
    with pytest.raises(UserError, match=rf"dataset\.layout: found {wrong}, expected {body}, the layout that"):
        train(compose("train", *settings, f"dataset.layout={wrong}", "debug=smoke"), tmp_path / "other")


def test_a_set_that_was_not_prepared(tmp_path: Path) -> None:
    config = compose("train", "dataset=custom", "dataset.name=mine", f"data_root='{tmp_path}'")
    with pytest.raises(UserError, match=r"run: python -m skelssl.prepare dataset=custom dataset.name=mine raw=PATH"):
        train(config, tmp_path / "run")


@shared
def test_real_recordings_as_nw_ucla_published_them(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with zipfile.ZipFile(data("nw_ucla_as_ntu.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(("A001.skeleton", "A002.skeleton"))]
        for name in names:
            clip = parse_skeleton(archive.read(name), Path(name).stem)
            subject, take, camera = (clip.facts[key] for key in ("subject", "replication", "camera"))
            file = f"a{clip.label + 1:02}_s{subject:02}_e{take:02}_v{camera:02}"
            text = json.dumps({"file_name": file, "skeletons": clip.bodies[:, OF_NTU].tolist()})
            (tmp_path / "raw" / f"{file}.json").write_text(text)
    store, report = built(tmp_path, tmp_path / "raw", Custom(layout="kinect20", test={"camera": [1]}))
    assert len(store) == len(names)
    assert store.class_names == ["a01", "a02"]
    assert report.leaks == {"custom": []}
    twins = sum("C002" in name and name.endswith("A002.skeleton") for name in names)
    assert len(report.duplicates) == twins > 40  # all of a02 under cameras 2 and 3
    stages = RecipeConfig.parse({"name": "aimclr"}).build(store.layout)
    for i in np.argsort(store.index.n_frames)[::40]:  # the shortest has one frame
        x = stages.normalise(stages.select(store.clip(i)))
        assert x.shape == (50, 2, 20, 3)
        np.testing.assert_allclose(x[:, 0, 2], 0, atol=1e-6)  # the upper spine is the origin of every frame
