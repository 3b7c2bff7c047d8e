"""PKU-MMD as a source: files of any name and nesting, labels with faults, splits, and one real recording end to end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.build.prepare import build_parsed, prepare_dataset
from skelssl.data.clip import PKU as PKU_FORM
from skelssl.data.clip import RawClip
from skelssl.data.parsed import ParsedStore
from skelssl.data.pku.files import PKUPart, pku_facts
from skelssl.data.pku.source import PKU
from skelssl.data.recipes import RecipeConfig
from skelssl.data.report import Report, Span
from skelssl.data.source import FACTS, Skipped
from skelssl.data.split import ClipTable
from skelssl.data.store import open_store
from tests.helpers.config import compose
from tests.helpers.pku import persons, put, split_list, text, write
from tests.helpers.shared import data, shared

LABELS = {"A01N01-L": "3,2,9,1\n12,10,30,2\n", "A01N02-L": "8,5,20,1\n", "A02N01-M": "8,1,30,1"}


def entries(root: Path, dataset: str = "pku2") -> tuple[PKU, list[str], Report]:
    source, report = PKU(dataset), Report(dataset)
    return source, [entry.name for entry in source.entries([root], report)], report


def table(names: list[str], source: PKU) -> ClipTable:
    found = [PKUPart(source.dataset).numbers(name) or {} for name in names]
    facts = {fact: np.array([one.get(fact, -1) for one in found], np.int64) for fact in FACTS}
    return ClipTable([f"{name}_001" for name in names], np.zeros(len(names), np.int64), facts)


def test_clips_are_rows_of_the_recording(tmp_path: Path) -> None:
    x = write(tmp_path, LABELS)["A01N01-L"]
    source = PKU("pku2")
    first, second = source.read(source.entries([tmp_path], Report("pku2"))[0])
    assert isinstance(first, RawClip)
    assert isinstance(second, RawClip)
    assert (first.name, second.name) == ("A01N01-L_001", "A01N01-L_002")
    assert (first.label, second.label, first.form) == (2, 11, PKU_FORM)
    assert first.facts == {"setup": 1, "subject": 1, "camera": 1}
    np.testing.assert_array_equal(first.persons(), x[1:9])
    np.testing.assert_array_equal(second.persons(), x[9:30])


def test_part_one_knows_no_subject(tmp_path: Path) -> None:
    write(tmp_path, {"0291-R": "51,1,3,1"})
    source = PKU("pku1")
    (clip,) = source.read(source.entries([tmp_path], Report("pku1"))[0])
    assert isinstance(clip, RawClip)
    assert clip.facts == {"setup": 291, "camera": 3}


def test_an_absent_person_has_no_rows_and_an_empty_clip_is_skipped(tmp_path: Path) -> None:
    x = persons(12)
    x[4:, 1] = 0
    x[6:8] = 0
    put(tmp_path / "s" / "A01N01-L.txt", text(x))
    put(tmp_path / "l" / "A01N01-L.txt", b"1,1,12,1\n2,7,8,1\n")
    folder = tmp_path / "v1" / "parsed"
    report = build_parsed(PKU("pku2"), [tmp_path], folder, workers=1, strict=False, progress=False)
    clip = ParsedStore(folder).clip(0)
    np.testing.assert_array_equal(clip.persons(), x)
    assert np.diff(clip.frame_ptr).tolist() == [2, 2, 2, 2, 1, 1, 0, 0, 1, 1, 1, 1]
    assert {"D05", "D10"} <= set(clip.codes)
    assert [(skip.name, skip.code) for skip in report.skipped] == [("A01N01-L_002", "D13")]


def test_every_fault_of_a_label_file(tmp_path: Path) -> None:
    rows = ["3,9,2,1", "", "3,0,9,1", "3,20,99,1", "52,1,9,1", "3,1.5,9,1", "3.0,1.0,9.0,1", "3,31,40,1", "x"]
    put(tmp_path / "A01N01-L.txt", text(x := persons(30)))
    put(tmp_path / "label" / "A01N01-L.txt", "\r\n".join(rows).encode())
    source = PKU("pku2")
    found = source.read(source.entries([tmp_path], Report("pku2"))[0])
    skipped = {one.name[-3:]: one.reason for one in found if isinstance(one, Skipped)}
    assert all(one.code == "D25" for one in found if isinstance(one, Skipped))
    assert skipped == {
        "005": "class 52 is not in 1–51",
        "006": "found start '1.5', expected a whole number",
        "008": "interval 31–40 lies outside the 30 frames",
        "009": "found 1 fields in 'x', expected class,start,end,confidence",
    }
    clips = {one.name[-3:]: one for one in found if isinstance(one, RawClip)}
    assert {key: clip.codes for key, clip in clips.items()} == {
        "001": ("D25",), "003": ("D25",), "004": ("D25",), "007": ()
    }  # fmt: skip
    for key, rows_of in {"001": x[1:9], "003": x[:9], "004": x[19:], "007": x[:9]}.items():
        np.testing.assert_array_equal(clips[key].persons(), rows_of)


def test_folders_archives_and_names_of_all_kinds(tmp_path: Path) -> None:
    recordings = write(tmp_path / "plain", LABELS)
    with zipfile.ZipFile(tmp_path / "Skeleton_v2.zip", "w") as archive:
        for stem, x in recordings.items():
            archive.writestr(f"a/b/{stem}.skeleton", text(x))
    flat = tmp_path / "flat"
    for stem, line in LABELS.items():
        put(flat / f"{stem.lower()}.TXT", line.encode())
    put(flat / "readme.txt", b"no data")
    put(flat / "Actions.xlsx", b"no text")
    lists = put(tmp_path / "Cross_View_v2.txt", split_list(["A02N01-M"], ["A01N01-L", "A01N02-L"]))
    names = {}
    for key, roots in {"plain": [tmp_path / "plain"], "odd": [tmp_path / "Skeleton_v2.zip", flat, lists]}.items():
        source, report = PKU("pku2"), Report("pku2")
        found = source.entries(roots, report)
        names[key] = [clip.name for entry in found for clip in source.read(entry)]
    assert names["plain"] == names["odd"] == ["A01N01-L_001", "A01N01-L_002", "A01N02-L_001", "A02N01-M_001"]
    assert [(skip.name, skip.code, skip.tolerated) for skip in report.skipped] == [("readme", "D21", True)]
    assert report.notes == ["xsub: using built-in list", f"{lists}: lists 3 recordings, 0 not here"]


def test_unreadable_files_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    write(tmp_path, LABELS)
    put(tmp_path / "skeleton" / "A03N01-L.txt", b"")
    put(tmp_path / "label" / "A03N01-L.txt", b"3,1,9,1")
    put(tmp_path / "skeleton" / "A04N01-L.txt", text(persons(4)))
    put(tmp_path / "label" / "A04N01-L.txt", b" \n")
    report = build_parsed(PKU("pku2"), [tmp_path], tmp_path / "v1" / "parsed", workers=1, strict=False, progress=False)
    assert [(skip.name, skip.code, skip.reason) for skip in report.skipped] == [
        ("A03N01-L", "D01", "empty file"),
        ("A04N01-L", "D01", "empty label file"),
    ]


def test_lonely_files_are_listed(tmp_path: Path) -> None:
    write(tmp_path, LABELS)
    put(tmp_path / "skeleton" / "A03N01-L.txt", text(persons(4)))
    put(tmp_path / "label" / "A04N01-L.txt", b"3,1,9,1")
    put(tmp_path / "label" / "A05N04-M.txt", b"3,1,9,1")  # its recording does not exist
    put(tmp_path / "skeleton" / "A27N01-L.txt", text(persons(4)))
    _, names, report = entries(tmp_path)
    assert names == sorted(LABELS)
    assert sorted((skip.name, skip.code, skip.tolerated) for skip in report.skipped) == [
        ("A03N01-L", "D26", False),
        ("A04N01-L", "D26", False),
        ("A05N04-M", "D26", True),
        ("A27N01-L", "D21", False),
    ]


def test_published_counts_from_names_alone() -> None:
    second = PKU("pku2")
    grid = [f"A{a:02d}N{n:02d}-{v}" for a in range(1, 27) for n in range(1, 14) for v in "LMR"]
    names = [name for name in grid if name not in second.facts["missing"]]
    assert len(names) == second.facts["videos"] == 1009
    sides = {name: second.split(name, table(names, second)) for name in second.splits}
    assert {k: (len(s.train), len(s.test)) for k, s in sides.items()} == {"xsub": (775, 234), "xview": (671, 338)}
    first = PKU("pku1")
    every = [f"{i:04d}-{v}" for i in range(2, 365) for v in "LMR"]
    sides = {name: first.split(name, table(every, first)) for name in first.splits}
    assert len(sides["xsub"].test) == 132
    assert {name[:4] for name in sides["xsub"].test} == {f"{i:04d}" for i in range(291, 335)}
    assert {name[4:6] for name in sides["xview"].test} == {"-L"}
    assert sum(first.facts["splits"]["xsub"]["clips"]) == first.expected()["clips"] == 21_545


def test_the_facts_are_whole() -> None:
    assert len(set(PKU("pku1").class_names)) == 51
    assert PKU("pku2").class_names[::25] == ["bow", "punching/slapping other person", "writing"]
    assert PKU("pku2").expected()["clips"] == Span(5_332 + 1_613, 5_339 + 1_613)
    for part in pku_facts()["benchmarks"].values():
        assert all(sum(rule["videos"]) == part["videos"] for rule in part["splits"].values())


def test_the_authors_list_rules(tmp_path: Path) -> None:
    write(tmp_path / "raw", LABELS)
    lists = put(tmp_path / "raw" / "cross-subject.txt", split_list(["A01N02-L"], ["A02N01-M", "A01N01-L", "A09N09-R"]))
    prepare_dataset(PKU("pku2"), data_root=tmp_path, raw=[tmp_path / "raw"], workers=1, strict=False)
    folder = tmp_path / "pku2" / "v1"
    wanted = {"train": ["A01N02-L_001"], "test": ["A01N01-L_001", "A01N01-L_002", "A02N01-M_001"]}
    assert json.loads((folder / "splits" / "xsub.json").read_text()) == wanted
    assert json.loads((folder / "report.json").read_text())["expected_clips"] == [6945, 6952]
    lists.write_bytes(split_list(["A02N01-M", "A01N01-L"], ["A01N02-L"]))
    assert not prepare_dataset(PKU("pku2"), data_root=tmp_path, raw=[tmp_path / "raw"], workers=1, strict=False).built
    assert json.loads((folder / "splits" / "xsub.json").read_text())["test"] == ["A01N02-L_001"]


def test_lists_that_do_not_fit(tmp_path: Path) -> None:
    write(tmp_path, LABELS)
    file = put(tmp_path / "cross_subject_v2.txt", split_list(["A01N01-L"], ["A01N02-L"]))
    with pytest.raises(UserError, match=r"cross_subject_v2.txt: found A02N01-M in neither list \(D27\)"):
        entries(tmp_path)
    file.write_bytes(split_list(["0002-L"], ["0291-L"]))
    with pytest.raises(UserError, match=r"no recording of pku2 in the list.*\(D28\).*part I and part II are mixed up"):
        entries(tmp_path)
    put(tmp_path / "ours" / "cross-subject.txt", split_list(["A01N01-L", "A01N02-L"], ["A02N01-M"]))
    source, _, _ = entries(tmp_path)  # the other part's list beside ours is no fault
    assert source.split("xsub", table(sorted(LABELS), source)).test == ("A02N01-M_001",)
    file.write_bytes(split_list(["A01N01-L"], ["A01N02-L", "A02N01-M"]))
    with pytest.raises(UserError, match="found other lists than in"):
        entries(tmp_path)


def test_roots_without_a_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no recording of pku1, expected files such as 0002-L.txt"):
        entries(tmp_path, "pku1")
    for name in ("Skeleton.7z", "Label_PKUMMD.7z"):
        put(tmp_path / name, b"")
    with pytest.raises(UserError, match=r"; name the archives in the folder one by one: Label_PKUMMD.7z,Skeleton.7z$"):
        entries(tmp_path, "pku1")
    write(tmp_path, LABELS)
    with pytest.raises(UserError, match=r"found A01N01-L and other files of the other part alone.*\(D28\)"):
        entries(tmp_path, "pku1")
    shutil.rmtree(tmp_path / "label")
    with pytest.raises(UserError, match="found 3 recordings of pku2 and no label file"):
        entries(tmp_path)
    with pytest.raises(UserError, match="found 'pku3', expected one of pku1, pku2"):
        PKU("pku3")
    with pytest.raises(UserError, match="split of pku1: found 'xset', expected one of xsub, xview"):
        PKU("pku1").split("xset", table([], PKU("pku1")))


def test_copies_are_used_once_and_clashes_refused(tmp_path: Path) -> None:
    write(tmp_path, LABELS)
    shutil.copytree(tmp_path / "skeleton", tmp_path / "again")
    _, names, report = entries(tmp_path)
    assert (names, report.warned["D18"]) == (sorted(LABELS), sorted(LABELS))
    put(tmp_path / "again" / "A01N02-L.txt", text(persons(30, seed=9)))
    with pytest.raises(UserError, match=r"A01N02-L: found two files of different content \(D18\)"):
        entries(tmp_path)


def test_bytes_do_not_depend_on_workers(tmp_path: Path) -> None:
    write(tmp_path / "raw", {f"A01N{n:02d}-{v}": f"{n},2,{9 + n},1\n3,1,5,1" for n in range(1, 5) for v in "LMR"})
    contents = []
    for workers in (1, 2, 4):
        folder = tmp_path / str(workers) / "parsed"
        build_parsed(
            PKU("pku2"), [tmp_path / "raw"], folder, workers=workers, strict=False, shard_size=5, progress=False
        )
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1] == contents[2]
    assert len(ParsedStore(tmp_path / "1" / "parsed")) == 24


def test_new_labels_are_new_data(tmp_path: Path) -> None:
    write(tmp_path / "raw", LABELS)
    settings = {"data_root": tmp_path, "raw": [tmp_path / "raw"], "workers": 1, "strict": False}
    assert prepare_dataset(PKU("pku2"), **settings).built  # type: ignore[arg-type]
    assert not prepare_dataset(PKU("pku2"), **settings).built  # type: ignore[arg-type]
    put(tmp_path / "raw" / "label" / "A01N02-L.txt", b"8,5,21,1\n")
    assert prepare_dataset(PKU("pku2"), **settings).built  # type: ignore[arg-type]
    with pytest.raises(UserError, match="found 4 of 6,945–6,952 expected clips"):
        prepare_dataset(PKU("pku2"), **{**settings, "strict": True})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dataset", "classes", "splits", "published"),
    [
        ("ntu60", 60, ["xsub", "xview"], ("zero", True)),
        ("ntu120", 120, ["xsub", "xset"], ("copy", True)),
        ("pku1", 51, ["xsub", "xview"], ("zero", False)),
        ("pku2", 51, ["xsub", "xview"], ("zero", False)),
        ("synthetic", 24, ["xsub", "xview"], ("zero", True)),
        ("custom", None, ["custom"], ("zero", True)),
    ],
)
def test_configs(dataset: str, classes: int | None, splits: list[str], published: tuple[str, bool]) -> None:
    config = compose("prepare", f"dataset={dataset}")["dataset"]
    assert (config["name"], config["classes"], config["splits"]) == (dataset, classes, splits)
    assert (config["single_person_fill"], config["center"]) == published
    for split in splits if config["split"] is None else ():
        assert compose("train", f"dataset={dataset}_{split}")["dataset"] == {
            **config, "name": f"{dataset}_{split}", "split": split
        }  # fmt: skip


@shared
def test_one_command_from_a_real_recording_to_two_conventions(tmp_path: Path) -> None:
    raw, root = tmp_path / "PKU (v2), a=b", tmp_path / "data"
    put(raw / "label" / "A10N08-L.txt", b"14,101,180,1\n3,900,700,2\n41,1000,1100,1\n52,1,9,1\n")
    put(raw / "skeleton" / "A10N08-L.txt", data("pku_raw", "A10N08-L.txt").read_bytes())
    command = [sys.executable, "-m", "skelssl.prepare", "dataset=pku2", f"raw={raw}", "strict=false",
               f"data_root={root}", "recipes=[ctrgcn]"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    recording = np.loadtxt(data("pku_raw", "A10N08-L.txt")).astype(np.float32).reshape(-1, 2, 25, 3)
    parsed = root / "pku2" / "v1" / "parsed"
    report = json.loads((parsed.parent / "report.json").read_text())
    assert report["skipped_by_code"] == {"D25": 1}
    assert report["warnings"]["D25"]["names"] == ["A10N08-L_002", "A10N08-L_003"]
    assert ParsedStore(parsed).index.n_frames == [80, 201, 41]
    (ready,) = (parsed.parent / "recipes").glob("ctrgcn-*/recipe.json")
    assert json.loads(ready.read_text())["recipe"]["center"] is False
    after = open_store(parsed, RecipeConfig.parse({"name": "ctrgcn", "center": False}))
    assert after.folder == ready.parent
    before = open_store(parsed, RecipeConfig.parse({"name": "ctrgcn", "center": False, "pku_interval": "inclusive"}))
    for i, (first, stop) in enumerate([(100, 180), (699, 900), (999, 1040)]):
        np.testing.assert_array_equal(_clip(before, i), recording[first:stop])
        np.testing.assert_array_equal(_clip(after, i), recording[first + 1 : stop])
    lengths = {name: np.diff(open_store(parsed, RecipeConfig.parse({"name": name})).offsets).tolist()
               for name in ("pyskl", "agcn")}  # fmt: skip
    assert lengths == {"pyskl": [79, 200, 40], "agcn": [80, 201, 41]}
    aimclr = [RecipeConfig.parse({"name": "aimclr", **more}) for more in ({}, {"pku_interval": "after_start"})]
    inclusive, cut = (open_store(parsed, recipe) for recipe in aimclr)
    assert np.diff(inclusive.offsets).tolist() == [50, 50, 50]
    assert not np.array_equal(inclusive.x, cut.x)


def _clip(store, i: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.asarray(store.x[store.offsets[i] : store.offsets[i + 1]])


@shared
def test_a_real_damaged_recording_is_rejected_with_its_line(tmp_path: Path) -> None:
    put(tmp_path / "raw" / "0002-L.truncated.txt", data("pku_raw", "0002-L.truncated.txt").read_bytes())
    put(tmp_path / "raw" / "label" / "0002-L.txt", b"3,1,9,1")
    put(tmp_path / "raw" / "0003-L.txt", text(persons(9)))
    put(tmp_path / "raw" / "label" / "0003-L.txt", b"3,1,9,1")
    report = prepare_dataset(PKU("pku1"), data_root=tmp_path, raw=[tmp_path / "raw"], workers=1, strict=False)
    assert [(skip.name, skip.code, skip.reason) for skip in report.skipped] == [
        ("0002-L", "D24", "line 1 holds 16 words, expected 150 numbers")
    ]


def test_a_set_is_complete_within_the_published_counts() -> None:
    report = Report("pku2", expected=Span(6_945, 6_952))
    complete = {}
    for count in (6_944, 6_945, 6_952, 6_953):
        report.counts["clips"] = count
        complete[count] = report.complaint()
    assert complete == {
        6_944: "pku2: found 6,944 of 6,945–6,952 expected clips", 6_945: None,
        6_953: "pku2: found 6,953 of 6,945–6,952 expected clips", 6_952: None,
    }  # fmt: skip
