"""NTU as a source: names, splits, the incomplete list, and real recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.ntu.source import NTU, ntu_facts, parse_name, parse_skeleton
from skelssl.data.report import Report
from skelssl.data.source import FACTS, BadInput
from skelssl.data.split import ClipTable
from tests.helpers.clips import assert_same, write_clips
from tests.helpers.shared import data, shared

RAW = data("ntu_raw")


def table(names: list[str]) -> ClipTable:
    found = [parse_name(name) for name in names]
    facts = {fact: np.array([one[fact] for one in found], dtype=np.int64) for fact in FACTS}
    return ClipTable(names, np.array([one["action"] - 1 for one in found]), facts)


@pytest.mark.parametrize(
    ("dataset", "split", "kept"),
    [
        ("ntu60", "xsub", (40_091, 16_487)),
        ("ntu60", "xview", (37_646, 18_932)),
        ("ntu120", "xsub", (63_026, 50_919)),
        ("ntu120", "xset", (54_468, 59_477)),
    ],
)
def test_published_counts_are_all_files_less_the_incomplete(dataset: str, split: str, kept: tuple[int, int]) -> None:
    source = NTU(dataset)
    sides = source.split(split, table(source.facts["missing"]))
    full = source.facts["splits"][split]["files"]
    assert (full[0] - len(sides.train), full[1] - len(sides.test)) == kept
    assert sum(kept) == source.expected()["clips"]


def test_the_facts_are_whole() -> None:
    small, large = (ntu_facts()["benchmarks"][name] for name in ("ntu60", "ntu120"))
    assert (len(small["missing"]), len(large["missing"])) == (302, 535)
    assert set(small["missing"]) < set(large["missing"])
    assert len(set(NTU("ntu120").class_names)) == 120
    assert NTU("ntu60").class_names[49:60:10] == ["punching/slapping other person", "walking apart from each other"]
    assert ntu_facts()["mutual_classes"] == [*range(50, 61), *range(106, 121)]


def test_unknown_names_are_user_errors() -> None:
    with pytest.raises(UserError, match="found 'xset', expected one of xsub, xview"):
        NTU("ntu60").split("xset", table([]))
    with pytest.raises(UserError, match="found 'ntu61', expected one of ntu60, ntu120"):
        NTU("ntu61")


@pytest.mark.parametrize(
    "name", ["xS001C001P001R001A001", "S001C001P001R001A001x", "S1C1P1R1A1", "S００1C001P001R001A001"]
)
def test_names_must_match_whole(name: str) -> None:
    with pytest.raises(BadInput, match="D21"):
        parse_name(name)


def test_entries_sort_skip_and_count(tmp_path: Path) -> None:
    good = ["S002C001P003R011A001", "S001C003P002R002A060"]
    incomplete = ["S001C002P005R002A008"]
    wrong = ["S001C001P001R001A061", "S018C001P001R001A061", "S001C004P001R001A001", "S001C001P041R001A001", "drink"]
    for name in [*good, *incomplete, *wrong]:
        (tmp_path / "deep").mkdir(exist_ok=True)
        (tmp_path / "deep" / f"{name}.skeleton").write_bytes(b"1")
    (tmp_path / "._S001C001P001R001A001.skeleton").write_bytes(b"")
    report = Report("ntu60")
    assert [entry.name for entry in NTU("ntu60").entries([tmp_path], report)] == sorted(good)
    assert (
        {skip.name: (skip.code, skip.tolerated) for skip in report.skipped}
        == {
            **dict.fromkeys(incomplete, ("D20", True)),
            **dict.fromkeys(wrong[:2], ("D21", True)),  # of NTU-120: a merged folder is no fault
            **dict.fromkeys(wrong[2:], ("D21", False)),
        }
    )
    assert report.counts == {"incomplete_skipped": 1, "incomplete_absent": 301}
    assert report.warned == {"D21": good[:1]}  # replication 11
    kept = NTU("ntu60", skip_incomplete=False).entries([tmp_path], Report("ntu60"))
    assert [entry.name for entry in kept] == sorted(good + incomplete)
    assert len(NTU("ntu120").entries([tmp_path], Report("ntu120"))) == 5


def test_read_gives_the_written_clip(tmp_path: Path) -> None:
    wanted = write_clips(tmp_path, ["S001C002P003R002A004"])[0]
    (entry,) = NTU("ntu60").entries([tmp_path], Report("ntu60"))
    (clip,) = NTU("ntu60").read(entry)
    assert_same(clip, wanted)
    assert (clip.label, clip.facts) == (3, {"setup": 1, "camera": 2, "subject": 3, "replication": 2})


@shared
@pytest.mark.parametrize(
    ("name", "frames", "bodies"),
    [
        ("S001C001P001R001A001", 103, 103),
        ("S001C001P001R001A002", 158, 158),
        ("S001C001P001R001A003", 104, 104),
        ("S001C001P001R001A004", 99, 99),
        ("S001C001P001R001A005", 54, 54),
        ("S001C001P001R001A011", 82, 82),
        ("S002C001P003R001A003", 100, 100),
        ("S001C003P008R002A058", 70, 140),
    ],
)
def test_real_files(name: str, frames: int, bodies: int) -> None:
    data = (RAW / "files" / f"{name}.skeleton").read_bytes()
    clip = parse_skeleton(data, name)
    assert (clip.n_frames, len(clip.bodies), clip.codes) == (frames, bodies, ())
    unix = data.replace(b"\r\n", b"\n")
    assert_same(parse_skeleton(unix, name), clip)
    assert_same(parse_skeleton(unix.replace(b"\n", b"\r\n"), name), clip)
    golden = np.load(RAW / "golden" / f"files__{name}.npz")["b_raw"]  # (3, T, V, M), bodies in file order
    first = clip.bodies[clip.frame_ptr[:-1]]
    np.testing.assert_array_equal(first, golden[:, :frames, :, 0].transpose(1, 2, 0).astype(np.float32))
    if bodies == 2 * frames:
        assert set(clip.body_id.tolist()) == {72057594037944738, 72057594037944734}


@shared
@pytest.mark.parametrize(("action", "code"), [("054", "D02"), ("055", "D01"), ("056", "D04")])
def test_damaged_files(action: str, code: str) -> None:
    name = f"S001C003P008R002A{action}"
    with pytest.raises(BadInput) as caught:
        parse_skeleton((RAW / "damaged" / f"{name}.skeleton").read_bytes(), name)
    assert caught.value.code == code


@shared
def test_damaged_but_usable_files() -> None:
    data = (RAW / "damaged" / "S004C002P003R001A001.skeleton").read_bytes()
    clip = parse_skeleton(data, "S004C002P003R001A001")
    assert clip.codes == ("D05",)
    assert (np.diff(clip.frame_ptr) == 0).sum() == clip.n_frames - len(clip.bodies) > 0
