"""Clips of one's own on disk: what is read of them, and what is refused or reported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.custom.source import Custom
from tests.helpers.custom import built, points, save, sides, small_set, write_index


def test_a_folder_of_classes(tmp_path: Path) -> None:
    one, two = points(seed=1)[:, 0], points(persons=2, seed=2)
    two[4:, 1] = 0  # the second person leaves
    save(tmp_path / "raw" / "walk" / "b.npy", one.astype(np.float64))
    save(tmp_path / "raw" / "walk" / "deep" / "a.npz", two, subject=3, fps=30, confidence=np.ones(9))
    save(tmp_path / "raw" / "sit" / "b.npz", np.round(one * 100).astype(np.int16), name="chair", camera=2.0)
    save(tmp_path / "raw" / "sit" / "c.npy", points(seed=4)[:, 0])
    (tmp_path / "raw" / "README.md").write_text("mine")
    store, report = built(tmp_path, tmp_path / "raw", strict=True)
    assert store.names == ["chair", "sit/c", "walk/b", "walk/deep/a"]
    assert (store.class_names, store.labels.tolist(), store.form) == (["sit", "walk"], [0, 0, 1, 1], "persons")
    assert store.facts["subject"].tolist() == [-1, -1, -1, 3]
    assert store.facts["camera"].tolist() == [2, -1, -1, -1]
    np.testing.assert_array_equal(store.clip(2).persons()[:, 0], one)
    np.testing.assert_array_equal(store.clip(3).persons(), two)
    np.testing.assert_array_equal(store.clip(0).persons()[:, 0], np.round(one * 100))
    assert report.warned["D10"] == ["walk/deep/a"]
    assert any("confidence, fps left out" in note for note in report.notes)
    assert any("1 files left out that are none of .npy, .npz, .json" in note for note in report.notes)


def test_an_index_has_the_last_word(tmp_path: Path) -> None:
    save(tmp_path / "clips" / "a.npz", points()[:, 0], label="nothing", subject=9, name="inside")
    save(tmp_path / "clips" / "b.npy", points(seed=1))
    save(tmp_path / "c.npz", points(seed=2), label=np.array(["sit"]), setup=5)
    index = write_index(
        tmp_path / "index.jsonl",
        {"file": "clips/a.npz", "name": "first", "label": "walk", "subject": 1, "layout": "ntu25", "fps": 30},
        " ",
        {"file": "clips/b.npy", "label": "sit", "camera": 2},
        {"file": str(tmp_path / "c.npz"), "replication": 4},
    )
    store, _ = built(tmp_path, index, strict=True)
    assert store.names == ["c", "clips/b", "first"]
    assert (store.class_names, store.labels.tolist()) == (["sit", "walk"], [0, 0, 1])
    assert {fact: values.tolist() for fact, values in store.facts.items()} == {
        "subject": [-1, -1, 1], "camera": [-1, 2, -1], "setup": [5, -1, -1], "replication": [4, -1, -1]
    }  # fmt: skip


def test_numbers_as_labels_keep_their_gaps(tmp_path: Path) -> None:
    for label in (0, 1, 4):
        save(tmp_path / "raw" / f"{label}.npz", points(seed=label), label=float(label))
        save(tmp_path / "raw" / f"{label}b.npz", points(seed=label + 9), label=label)
    store, report = built(tmp_path, tmp_path / "raw", strict=True)
    assert (store.class_names, store.labels.tolist()) == (list("01234"), [0, 0, 1, 1, 4, 4])
    assert "no clip of class 2, 3: 5 classes all the same" in report.notes


def test_files_of_nw_ucla(tmp_path: Path) -> None:
    x = points(frames=4, joints=20)[:, 0]
    (tmp_path / "all_sqe").mkdir()
    for name in ("a01_s02_e00_v03", "a12_s01_e04_v01"):
        text = json.dumps({"file_name": name, "skeletons": x.tolist()})
        (tmp_path / "all_sqe" / f"{name}.json").write_text(text)
        x = x + 1
    store, _ = built(tmp_path, tmp_path / "all_sqe", Custom(layout="kinect20", test={"camera": [3]}))
    assert (store.layout, store.class_names, store.labels.tolist()) == ("kinect20", ["a01", "a12"], [0, 1])
    assert [store.facts[fact].tolist() for fact in ("subject", "camera", "replication")] == [[2, 1], [3, 1], [0, 4]]
    np.testing.assert_array_equal(store.clip(0).persons()[:, 0], points(frames=4, joints=20)[:, 0])
    assert sides(tmp_path) == (["a12_s01_e04_v01"], ["a01_s02_e00_v03"])


def _half_written(path: Path) -> None:
    path.write_bytes(save(path, points()).read_bytes()[:-100])


def _pickled(path: Path) -> None:
    np.save(path, np.array([{"x": 1}], dtype=object), allow_pickle=True)


BAD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "empty.npy": (lambda p: p.write_bytes(b""), "D01", "empty file"),
    "half.npy": (_half_written, "D32", "half-written"),
    "pickled.npy": (_pickled, "D32", "no array of numbers"),
    "none.npy": (lambda p: save(p, np.zeros((0, 25, 3))), "D04", "no frame"),
    "flat.npy": (lambda p: save(p, points().reshape(9, 75)), "D24", r"found shape \(9, 75\), expected \(T, 25, 3\) or"),
    "joints.npy": (lambda p: save(p, points(joints=20)), "D24", r"found shape \(9, 1, 20, 3\), expected .* of ntu25"),
    "many.npy": (lambda p: save(p, points(persons=3)), "D24", "found 3 persons"),
    "swapped.npy": (lambda p: save(p, points().swapaxes(0, 1)), "D24", r"found 9 persons in shape \(1, 9, 25, 3\)"),
    "words.npy": (lambda p: save(p, points().astype(str)), "D24", "expected numbers"),
    "zip.npz": (lambda p: p.write_bytes(b"PK"), "D02", "no complete .npz"),
    "keys.npz": (lambda p: np.savez(p, a=points(), b=1), "D24", "found the keys a, b, expected the array under x"),
    "bare.npz": (lambda p: np.savez(p, subject=1), "D24", "found the keys subject, expected .* or alone"),
    "odd.json": (lambda p: p.write_text('{"skeletons": [[1, 2], [3]]}'), "D24", 'found no "skeletons"'),
    "cut.json": (lambda p: p.write_text('{"skeletons": [[[1'), "D24", 'found no "skeletons"'),
    "zero.npy": (lambda p: save(p, np.zeros((9, 25, 3))), "D13", "at the origin"),
    "nan.npy": (lambda p: save(p, np.full((9, 25, 3), np.nan)), "D12", "NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    raw = small_set(tmp_path / "raw")
    write, code, reason = BAD[name]
    write(raw / "sit" / name)
    store, report = built(tmp_path, raw)
    assert len(store) == 6
    [skip] = report.skipped
    assert skip.name == f"sit/{Path(name).stem}"
    assert skip.code == code
    assert re.search(reason, skip.reason)
    with pytest.raises(UserError, match=rf"custom: skipped sit/{Path(name).stem} \({code}"):
        built(tmp_path, raw, strict=True)


def test_clips_without_label_or_file_are_skipped(tmp_path: Path) -> None:
    raw = small_set(tmp_path)
    good = [{"file": f"sit/s{s}.npz", "label": "sit"} for s in (1, 2)]
    labels = (float("nan"), None, "NaN", " ", "NaN NaN", " nan\tNAN  NaN ", [float("nan")] * 2, ["NaN", "nan nan"])
    odd = [{"file": "walk/s1.npz", "name": str(label), "label": label} for label in labels]
    index = write_index(raw / "index.jsonl", *good, *odd, {"file": "gone.npy", "label": "sit"})
    store, report = built(tmp_path, index)
    assert store.names == ["sit/s1", "sit/s2"]
    assert [(skip.name, skip.code) for skip in report.skipped] == [
        *((str(label), "D35") for label in labels), ("gone", "D26")
    ]  # fmt: skip
    assert store.class_names == ["sit"]
    assert "index.jsonl line 11" in report.skipped[-1].reason
    with pytest.raises(UserError, match=r"found no clip to use; custom: skipped None \(D35 no label"):
        built(tmp_path, write_index(raw / "index.jsonl", odd[1]))


@pytest.mark.parametrize("label", [np.nan, "NaN NaN", np.array([np.nan, np.nan]), np.array(["NaN", "NaN"])])
def test_an_archive_that_says_nan_of_its_class_is_skipped(tmp_path: Path, label: Any) -> None:
    raw = small_set(tmp_path / "raw")
    save(raw / "sit" / "carry.npz", points(seed=77), label=label)
    save(raw / "NaN NaN" / "carry.npy", points(seed=78))
    store, report = built(tmp_path, raw)
    assert store.class_names == ["sit", "walk"]
    assert [(skip.name, skip.code) for skip in report.skipped] == [("NaN NaN/carry", "D35"), ("sit/carry", "D35")]


def test_words_that_only_hold_nan_are_classes(tmp_path: Path) -> None:
    raw = small_set(tmp_path / "raw", classes=("bake nan bread", "nano"))
    assert built(tmp_path, raw, strict=True)[0].class_names == ["bake nan bread", "nano"]


def test_the_only_array_of_an_archive_is_the_clip(tmp_path: Path) -> None:
    raw, x = small_set(tmp_path / "raw"), points(seed=77)[:, 0]
    np.savez(raw / "sit" / "bare.npz", x)
    np.savez_compressed(raw / "sit" / "said.npz", keypoint=x + 1, label="walk", subject=7, fps=30)
    store, report = built(tmp_path, raw, strict=True)
    rows = {name: row for row, name in enumerate(store.names)}
    np.testing.assert_array_equal(store.clip(rows["sit/bare"]).persons()[:, 0], x)
    np.testing.assert_array_equal(store.clip(rows["sit/said"]).persons()[:, 0], x + 1)
    assert (store.labels[rows["sit/bare"]], store.labels[rows["sit/said"]]) == (0, 1)
    assert store.facts["subject"][rows["sit/said"]] == 7
    assert [note for note in report.notes if "left out" in note] == [f"{raw}: fps left out, since nothing reads it"]


def test_gaps_and_absent_frames(tmp_path: Path) -> None:
    raw, x = small_set(tmp_path / "raw"), points(frames=11)[:, 0]
    hole, absent = x.copy(), x.copy()
    hole[4, 7], absent[3:5] = np.nan, 0
    save(raw / "sit" / "hole.npy", hole)
    save(raw / "sit" / "absent.npy", absent)
    save(raw / "sit" / "one.npy", x[:1])
    store, report = built(tmp_path, raw)
    by_name = {name: store.clip(i) for i, name in enumerate(store.names)}
    np.testing.assert_allclose(by_name["sit/hole"].persons()[4, 0, 7], (x[3, 7] + x[5, 7]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(by_name["sit/absent"].persons()[:, 0], absent)
    assert np.diff(by_name["sit/absent"].frame_ptr).tolist() == [1, 1, 1, 0, 0, *[1] * 6]
    assert by_name["sit/one"].n_frames == 1
    assert report.warned["D12"] == ["sit/hole"]
    assert report.warned["D15"] == ["sit/one"]


GOOD = {"file": "a.npy", "label": "sit"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"file": "a.npy",', "line 2: found malformed JSON"),
        ('["a.npy"]', "line 2: found .* expected an object"),
        ({"label": "sit"}, 'expected an object with the path of a clip under "file"'),
        ({**GOOD, "lable": 1}, "line 2: unknown key 'lable', expected some of file, name, label, subject"),
        ({**GOOD, "layout": "kinect20"}, "found layout 'kinect20', expected ntu25"),
        ({**GOOD, "split": "val"}, "found split 'val', expected train or test"),
        ({**GOOD, "split": "test"}, "line 1: found no split, expected one on every line or on none"),
        ({**GOOD, "file": "a.skeleton"}, "found file a.skeleton, expected one of .npy, .npz, .json"),
        ({**GOOD, "subject": "anna"}, "line 2: found subject 'anna', expected a whole number of at least 0"),
        ({**GOOD, "camera": 1.5}, "found camera 1.5"),
        ({**GOOD, "subject": float("inf")}, "found subject inf"),
        ({**GOOD, "label": -1}, "found label -1"),
        ({**GOOD, "label": True}, "found label True"),
        ({**GOOD, "label": 3}, r"label: found both numbers \(3\) and names \(sit\)"),
        ({**GOOD, "name": "a", "label": "walk"}, r"line 2: found another clip called a \(D18\), first in .* line 1"),
        ({**GOOD, "name": "a", "file": "b.npy"}, r"a: found two files of different content \(D18\)"),
    ],
)
def test_a_line_that_is_wrong_is_a_sentence(tmp_path: Path, line: Any, sentence: str) -> None:
    save(tmp_path / "a.npy", points())
    save(tmp_path / "b.npy", points(seed=1))
    with pytest.raises(UserError, match=sentence):
        built(tmp_path, write_index(tmp_path / "index.jsonl", GOOD, line))


def test_roots_that_are_none(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", points())
    with pytest.raises(UserError, match=r"a.npy: found a file that is no index, expected a folder of clips, a file"):
        built(tmp_path, tmp_path / "a.npy")
    (tmp_path / "latin.jsonl").write_bytes('{"file": "ä"}'.encode("latin1"))
    with pytest.raises(UserError, match=r"latin.jsonl: cannot be read .* expected UTF-8"):
        built(tmp_path, tmp_path / "latin.jsonl")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="found no file of custom"):
        built(tmp_path, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"subject": "anna"}, "a whole number of at least 0"),
        ({"label": np.array(["a", "b"])}, "a whole number of at least 0"),
        ({"split": "val"}, "train or test"),
        ({"layout": "kinect20"}, "ntu25 as for the whole dataset"),
    ],
)
def test_an_archive_with_a_wrong_fact_is_a_sentence(tmp_path: Path, more: dict[str, Any], expected: str) -> None:
    save(tmp_path / "sit" / "a.npz", points(), **more)
    with pytest.raises(UserError, match=rf"a.npz: found {next(iter(more))} .*, expected {expected}"):
        built(tmp_path, tmp_path)
