"""The bad-input catalogue for NTU files: every code, what the report says, and what the recipes make of it."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from skelssl.core import files
from skelssl.core.errors import UserError
from skelssl.data import process_file
from skelssl.data.build import shards
from skelssl.data.build.checks import examined
from skelssl.data.build.prepare import build_parsed
from skelssl.data.clip import RawClip
from skelssl.data.ntu.source import NTU, parse_skeleton
from skelssl.data.parsed import ParsedStore
from skelssl.data.recipes import RECIPES, RecipeConfig
from skelssl.data.report import Report
from skelssl.data.source import BadInput, Entry
from skelssl.data.store import open_store
from tests.helpers.bodies import body, clip_of, on
from tests.helpers.ntu_text import format_skeleton
from tests.helpers.shared import data, shared

IDS = 72057594037931101, 72057594037944734, 72057594037944738  # the last two are equal as float64
T = 40
MAIN, OTHER = body(T, motion=0.3), body(T, seed=1, motion=0.1)
GHOST, TABLE = body(5, seed=2), body(T, seed=3, motion=1.0, wide=range(T))
RECIPE_CASES = [(name, faithful) for name in RECIPES for faithful in (True, False)]


def one(points: np.ndarray = MAIN, frames: range | list[int] | None = None, length: int | None = None) -> RawClip:
    frames = range(len(points)) if frames is None else frames
    return clip_of({IDS[0]: on(frames, points)}, length or len(frames))


def two(first: np.ndarray = MAIN, second: np.ndarray = OTHER, frames: range | list[int] = range(T)) -> RawClip:
    return clip_of({IDS[0]: on(range(len(first)), first), IDS[1]: on(frames, second)}, len(first))


def with_value(value: float, rows: slice, joint: int = 7) -> RawClip:
    clip = one(MAIN.copy())
    clip.bodies[rows, joint] = value
    return clip


def flipped(clip: RawClip, frames: range) -> RawClip:
    """The clip with two bodies of some frames in the other order."""
    rows = np.arange(len(clip.bodies))
    for f in frames:
        start = clip.frame_ptr[f]
        rows[[start, start + 1]] = start + 1, start
    return replace(clip, bodies=clip.bodies[rows], body_id=clip.body_id[rows], track=clip.track[rows])


GONE = [*range(20), *range(35, T)]  # frames of a body that vanishes and returns
CLEAN = format_skeleton(two())
TEXT = format_skeleton(one())
# 003 and 024 hold the same clip, written differently.
ODD: dict[str, Any] = {  # action -> (what the report must say, content)
    "001": ({"skip": "D01"}, b""),
    "002": ({"skip": "D02"}, TEXT[: len(TEXT) // 2]),
    "003": ({"D03", "D17"}, TEXT + b"1 2 3\r\n"),
    "004": ({"skip": "D04"}, b"3\r\n0\r\n0\r\n0\r\n"),
    "005": ({"D05"}, one(MAIN[:30], [*range(5, 20), *range(22, 37)], T)),
    "006": ({"D06", "D10"}, two(second=GHOST, frames=range(5))),
    "007": ({"D06"}, two(second=TABLE)),
    "008": ({"D07"}, clip_of({IDS[0]: on(range(20), MAIN[:20]), IDS[1]: on(range(20, T), MAIN[20:])}, T)),
    "009": ({"D08", "D10"}, two(second=OTHER[: len(GONE)], frames=GONE)),
    "010": ({"D09"}, flipped(two(), range(10, 20))),
    "011": ({"D10"}, two(second=OTHER[:20], frames=range(20))),
    "012": ({"D11"}, clip_of({IDS[1]: on(range(T), MAIN), IDS[2]: on(range(T), OTHER)}, T)),
    "013": ({"D12"}, with_value(np.nan, slice(3, 4))),
    "014": ({"skip": "D12"}, with_value(np.inf, slice(None))),
    "015": ({"D13"}, with_value(0.0, slice(3, 4))),
    "016": ({"skip": "D13"}, one(np.zeros((T, 25, 3), np.float32))),
    "017": ({"D14"}, one(body(310))),
    "018": ({"D15"}, one(MAIN[:1])),
    "019": ({"D14", "D16"}, one(body(410, seed=5))),
    "020": ({"D17"}, two(body(T, seed=6), body(T, seed=7))),
    "021": ({"D17"}, two(body(T, seed=6), body(T, seed=7))),
    "022": ({"D34"}, two(second=MAIN)),
    "023": ({"skip": "D23"}, TEXT.replace(b".", b",")),
    "024": ({"D17"}, b"\xef\xbb\xbf " + TEXT.replace(b"\r\n", b"\n\n").replace(b" ", b"\t ")),
    "025": (set(), CLEAN),
    "060": ({"D21"}, one(body(T, seed=9))),  # replication 3
    "061": ({"skip": "D21"}, TEXT),
}


def name_of(action: str) -> str:
    return f"S001C001P001R00{3 if action == '060' else 1}A{action}"


def write(folder: Path, content: Mapping[str, RawClip | bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, what in content.items():
        text = format_skeleton(what) if isinstance(what, RawClip) else what
        (folder / f"{name}.skeleton").write_bytes(text)
    return folder


def build(*raw: Path, into: Path, source: NTU | None = None, **settings: Any) -> Report:
    settings = {"workers": 1, "strict": False, "progress": False, **settings}
    return build_parsed(source or NTU(), raw, into / "parsed", **settings)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Report, Path]:
    """report.json, the report and the parsed store of all odd files at once."""
    folder = tmp_path_factory.mktemp("odd")
    content = {name_of(action): what for action, (_, what) in ODD.items()}
    content |= {"drink": TEXT, "S001C001P041R001A001": TEXT, "S001C002P005R002A008": TEXT}
    write(folder / "raw", content)
    write(folder / "copy", {name_of("025"): CLEAN})
    report = build(folder / "raw", folder / "copy", into=folder)
    return json.loads((folder / "report.json").read_text()), report, folder / "parsed"


@pytest.mark.parametrize("action", ODD)
def test_every_odd_file_is_named_with_its_code(odd: tuple[dict[str, Any], Report, Path], action: str) -> None:
    said, _, _ = odd
    wanted, name = ODD[action][0], name_of(action)
    skipped = {skip["name"]: skip["code"] for skip in said["skipped"]}
    warned = {code for code, about in said["warnings"].items() if name in about["names"]}
    if isinstance(wanted, dict):
        assert (skipped.get(name), warned) == (wanted["skip"], set())
    else:
        assert name not in skipped
        assert warned - {"D18"} == wanted
    assert ("D18" in warned) == (action == "025")


def test_names_lists_and_setups_have_codes_too(odd: tuple[dict[str, Any], Report, Path]) -> None:
    said, _, _ = odd
    skipped = {skip["name"]: (skip["code"], skip["tolerated"]) for skip in said["skipped"]}
    assert skipped["drink"] == skipped["S001C001P041R001A001"] == ("D21", False)
    assert skipped[name_of("061")] == ("D21", True)  # a part of NTU-120
    assert skipped["S001C002P005R002A008"] == ("D20", True)
    assert (said["counts"]["incomplete_skipped"], said["counts"]["incomplete_absent"]) == (1, 301)
    assert said["notes"][0] == "using built-in list of 302 incomplete recordings (D19)"
    actions, setups = said["warnings"]["D22"]["names"]
    assert actions.startswith("all of actions A001…A002, A004, A014")
    assert setups == "all of setups S002…S017"
    assert said["counts"]["repaired_joints"] == 1
    assert said["splits"] == {"xsub": {"train": 20, "test": 0}, "xview": {"train": 0, "test": 20}}
    assert said["expected_splits"]["xsub"] == {"train": 40_091, "test": 16_487}


def test_every_code_has_a_row_on_the_console(odd: tuple[dict[str, Any], Report, Path]) -> None:
    text = io.StringIO()
    odd[1].print(Console(file=text, width=120))
    rows = [line for line in text.getvalue().splitlines() if line.startswith("│")]
    for code in ("D01", "D02", "D04", "D12", "D13", "D20", "D21", "D23"):
        assert any(f"skipped, {code} " in row for row in rows), code
    for code in ("D03", *(f"D{n:02d}" for n in range(5, 19) if n != 8), "D08", "D21", "D22", "D34"):
        assert any(f"warning, {code} " in row for row in rows), code
    assert "using built-in list of 302" in text.getvalue()


@pytest.mark.parametrize(("recipe", "faithful"), RECIPE_CASES)
def test_no_recipe_fails_or_spreads_what_is_odd(
    odd: tuple[dict[str, Any], Report, Path], recipe: str, faithful: bool
) -> None:
    store, stages = ParsedStore(odd[2]), RecipeConfig(recipe, faithful=faithful).build()
    assert len(store) == 20
    for clip in store.clips():
        x = stages.normalise(stages.select(clip))
        assert np.isfinite(x).all(), clip.name
        assert x[:, 0].any(), clip.name
        if (clip.body_id == clip.body_id[0]).all():
            assert not x[:, 1].any(), clip.name  # nobody there: neither centred nor turned
    long = stages.select(store.clip(store.names.index(name_of("017"))))
    assert len(long) == (300 if faithful and recipe != "pyskl" else 310)
    single = stages.select(store.clip(store.names.index(name_of("018"))))
    resized = stages.normalise(single)
    np.testing.assert_allclose(resized, np.broadcast_to(resized[:1], resized.shape), atol=1e-6)  # D15: a constant


def selected(recipe: str, clip: RawClip, *, faithful: bool = True) -> np.ndarray:
    return RecipeConfig(recipe, faithful=faithful).build().select(clip)


def test_d02_salvage_keeps_the_complete_frames(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {name_of("001"): TEXT[: len(TEXT) // 2], name_of("002"): TEXT[:200]})
    report = build(raw, into=tmp_path / "a", source=NTU(salvage=True))
    assert report.warned["D02"] == [name_of("001")]
    assert [(skip.name, skip.code) for skip in report.skipped] == [(name_of("002"), "D02")]
    clip = ParsedStore(tmp_path / "a" / "parsed").clip(0)
    assert 15 < clip.n_frames < 25
    np.testing.assert_array_equal(clip.bodies, MAIN[: clip.n_frames])
    write(raw, {name_of("003"): TEXT})
    for salvage, clips in ((False, 1), (True, 2)):  # the option alone makes another store
        build(raw, into=tmp_path / "b", source=NTU(salvage=salvage))
        assert len(ParsedStore(tmp_path / "b" / "parsed")) == clips


def test_d05_published_timelines() -> None:
    clip = ODD["005"][1]
    for recipe, frames in (("ctrgcn", 30), ("pyskl", 30), ("aimclr", T), ("agcn", T)):
        assert len(selected(recipe, clip)) == frames
    np.testing.assert_array_equal(selected("ctrgcn", clip)[:, 0], MAIN[:30])
    empty = ~selected("aimclr", clip).any((1, 2, 3))
    assert np.flatnonzero(empty).tolist() == [*range(5), 20, 21, 37, 38, 39]


@pytest.mark.parametrize("action", ["006", "007"])
@pytest.mark.parametrize(("recipe", "faithful"), RECIPE_CASES)
def test_d06_ghosts_and_tables_leave_no_trace_where_ids_count(action: str, recipe: str, faithful: bool) -> None:
    same = np.array_equal(
        selected(recipe, ODD[action][1], faithful=faithful), selected(recipe, one(), faithful=faithful)
    )
    assert same == (not faithful or recipe in ("ctrgcn", "pyskl"))  # by place a table becomes a person


def test_d07_the_pieces_join() -> None:
    for recipe in ("ctrgcn", "pyskl"):
        np.testing.assert_array_equal(selected(recipe, ODD["008"][1]), selected(recipe, one()))


def test_d08_later_frames_slide_left_unless_fixed() -> None:
    seen = [*range(20), *range(35, 70)]
    still, comes = body(70, motion=0.05), body(55, seed=1, motion=0.3)
    clip = clip_of({IDS[0]: on(range(70), still), IDS[1]: on(seen, comes)}, 70)
    for recipe in ("ctrgcn", "pyskl"):
        published, fixed = (selected(recipe, clip, faithful=faithful) for faithful in (True, False))
        assert np.flatnonzero(~published[:, 0].any((1, 2))).tolist() == [*range(55, 70)]
        assert np.flatnonzero(~fixed[:, 0].any((1, 2))).tolist() == [*range(20, 35)]


@pytest.mark.parametrize(("recipe", "faithful"), RECIPE_CASES)
def test_d09_order_matters_to_places_alone(recipe: str, faithful: bool) -> None:
    same = np.array_equal(*(selected(recipe, clip, faithful=faithful) for clip in (two(), ODD["010"][1])))
    assert same == (not faithful or recipe in ("ctrgcn", "pyskl"))


def test_d10_and_d11_second_persons() -> None:
    for recipe in RECIPES:
        there = selected(recipe, ODD["011"][1])[:, 1].any((1, 2))
        assert there[:20].all()
        assert not there[20:].any()
        assert selected(recipe, ODD["012"][1]).any((2, 3)).all()


def test_d12_three_numbers_are_interpolated_and_counted(tmp_path: Path) -> None:
    clip = one(MAIN.copy())
    clip.bodies[[4, 5, 0], [7, 7, 3], [0, 2, 1]] = np.nan
    build(write(tmp_path / "raw", {name_of("001"): clip}), into=tmp_path)
    found = ParsedStore(tmp_path / "parsed").clip(0).bodies
    wanted = MAIN.copy()
    wanted[4, 7], wanted[5, 7] = MAIN[3, 7] * 2 / 3 + MAIN[6, 7] / 3, MAIN[3, 7] / 3 + MAIN[6, 7] * 2 / 3
    wanted[0, 3] = MAIN[1, 3]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    path = write(tmp_path / "one", {name_of("001"): clip}) / f"{name_of('001')}.skeleton"
    assert all(np.isfinite(process_file(path, recipe=recipe)).all() for recipe in RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_d13_what_is_zero_stays_zero_in_the_fixed_form(recipe: str) -> None:
    clip = two(MAIN.copy(), OTHER.copy())
    clip.bodies[clip.body_id == IDS[0], 7] = 0
    stages = RecipeConfig(recipe, faithful=False).build()
    x = stages.normalise(stages.select(clip))
    assert not x[:, 0, 7].any()
    assert x[:, 0, 6].any()
    assert x[:, 1, 7].any()


def test_d17_equal_clips_across_a_split_are_an_error_unless_waived(tmp_path: Path) -> None:
    twins = {"S001C001P001R001A001": CLEAN, "S001C001P003R001A001": CLEAN.replace(b"\r\n", b"\n")}
    raw = write(tmp_path / "raw", twins)
    with pytest.raises(
        UserError, match=r"equal clips on both sides of xsub \(D17\): S001C001P001R001A001 = S001C001P0"
    ):
        build(raw, into=tmp_path, strict=None)
    assert build(raw, into=tmp_path).leaks["xsub"] == [list(twins)]


def test_d18_one_name_with_two_contents_is_an_error(tmp_path: Path) -> None:
    roots = [write(tmp_path / str(k), {name_of("001"): text}) for k, text in enumerate((TEXT, CLEAN))]
    with pytest.raises(UserError, match=r"S001C001P001R001A001: found two files of different content \(D18\)"):
        build(*roots, into=tmp_path)


def test_d19_a_list_with_prose(tmp_path: Path) -> None:
    names = ["S001C001P001R001A002", "S017C003P040R002A060"]
    prose = "The following 2 samples (S001... to S017...)\r\nare incomplete.\r\n\r\n"
    listed = tmp_path / "list.txt"
    listed.write_text(prose + "\r\n".join([*names, "S032C003P106R002A120", ""]))
    raw = write(tmp_path / "raw", {name_of(action): TEXT for action in ("001", "002")})
    source = NTU(missing=str(listed))
    report = build(raw, into=tmp_path, source=source)
    assert [(skip.name, skip.code) for skip in report.skipped] == [(names[0], "D20")]
    assert (report.counts["incomplete_skipped"], report.counts["incomplete_absent"]) == (1, 1)
    assert report.expected == 56_880 - 2
    assert not any("built-in" in note for note in report.notes)
    assert source.expected()["splits"] == {"xsub": (40_319, 16_559), "xview": (37_919, 18_959)}
    listed.write_text("nothing")
    with pytest.raises(UserError, match=r"dataset\.source\.missing=.*list\.txt: found no name of ntu60"):
        build(raw, into=tmp_path, source=NTU(missing=str(listed)))
    with pytest.raises(UserError, match=r"dataset\.source\.missing=gone: cannot be read"):
        build(raw, into=tmp_path, source=NTU(missing="gone"))


def test_d32_a_half_written_store_is_named(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {name_of("001"): TEXT})
    build(raw, into=tmp_path)
    path = tmp_path / "parsed" / "bodies.npy"
    path.write_bytes(path.read_bytes()[:-4])
    for again in (lambda: build(raw, into=tmp_path), lambda: open_store(path.parent, RecipeConfig("aimclr"))):
        with pytest.raises(UserError, match=r"bodies\.npy: found a missing or half-written array \(D32.*delete"):
            again()


def leftovers(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.name.endswith(".tmp"))


def no_room(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_d33_a_disk_that_fills_up_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write(tmp_path / "raw", {name_of("001"): TEXT})
    for target, attribute in ((shards.np, "savez"), (files.NpyWriter, "append"), (files.json, "dump")):
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, no_room)
            with pytest.raises(UserError, match=r"parsed: cannot be written \(.*No space left.*expected a data_root"):
                build(raw, into=tmp_path)
        assert not (tmp_path / "parsed").exists()
        assert not list(leftovers(tmp_path))
    build(raw, into=tmp_path)
    recipe = RecipeConfig("aimclr")
    with monkeypatch.context() as patch:
        patch.setattr(files.NpyWriter, "append", no_room)
        with pytest.raises(UserError, match=r"aimclr-.*: cannot be written \(.*No space left"):
            open_store(tmp_path / "parsed", recipe)
        patch.setattr(files.shutil, "disk_usage", lambda _: type("", (), {"free": 10}))
        with pytest.raises(UserError, match=r"recipes: found 0\.0 GB free, expected .* GB for recipe aimclr \(D33\)"):
            open_store(tmp_path / "parsed", recipe)
    assert not (tmp_path / "recipes" / recipe.id).exists()
    assert not list(leftovers(tmp_path))
    assert len(open_store(tmp_path / "parsed", recipe)) == 1


def test_d33_a_source_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    class Vanishing(NTU):
        def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
            found = super().entries(roots, report)
            Path(found[0].location).unlink()
            return found

    raw = write(tmp_path / "raw", {name_of("001"): TEXT, name_of("002"): CLEAN})
    report = build(raw, into=tmp_path, source=Vanishing())
    (skip,) = report.skipped
    assert (skip.name, skip.code, skip.reason) == (name_of("001"), "D33", "cannot be read (No such file or directory)")


@shared
@pytest.mark.parametrize(
    ("action", "codes"),
    [("S001C003P008R002A050", {"D06", "D11"}), ("S001C003P008R002A052", {"D10"}),
     ("S004C002P003R001A001", {"D05"}), ("S004C002P003R001A002", {"D07"})],
)  # fmt: skip
def test_codes_of_real_damage(action: str, codes: set[str]) -> None:
    raw = data("ntu_raw", "damaged", f"{action}.skeleton").read_bytes()
    assert codes <= set(examined(parse_skeleton(raw, action)).codes)


@shared
def test_real_people_who_vanish_flip_or_lie_down(tmp_path: Path) -> None:
    name = "S001C003P008R002A058"
    clip = parse_skeleton(data("ntu_raw", "files", f"{name}.skeleton").read_bytes(), name)
    assert set(examined(clip).codes) == {"D11"}
    first, second = clip.bodies[::2], clip.bodies[1::2]
    turned = flipped(clip, range(30, 40))
    table = clip_of({IDS[0]: on(range(70), second), 5: on(range(70), first[..., [1, 0, 2]])}, 70, name)
    vanishing = clip_of({int(clip.body_id[0]): on(range(70), first),
                         int(clip.body_id[1]): on([*range(20), *range(35, 70)], second[:55])}, 70, name)  # fmt: skip
    alone = clip_of({IDS[0]: on(range(70), second)}, 70, name)
    for recipe in ("ctrgcn", "pyskl"):
        np.testing.assert_array_equal(selected(recipe, turned), selected(recipe, clip))
        np.testing.assert_array_equal(selected(recipe, table), selected(recipe, alone))
        empty = ~selected(recipe, vanishing).any((2, 3))
        assert [np.flatnonzero(person).tolist() for person in empty.T if person.any()] == [[*range(55, 70)]]
    swapped = np.abs(selected("aimclr", turned) - selected("aimclr", clip)).max((1, 2, 3))
    assert np.flatnonzero(swapped).tolist() == [*range(30, 40)]
    broken = replace(clip, bodies=clip.bodies.copy())
    broken.bodies[[10, 50, 90], [3, 4, 5], [0, 1, 2]] = np.nan
    mended = examined(broken)
    assert (mended.repaired, "D12" in mended.codes) == (3, True)
    np.testing.assert_allclose(mended.bodies, clip.bodies, atol=0.05)


def test_nothing_usable_says_why() -> None:
    with pytest.raises(BadInput, match="D12: NaN or infinite coordinates in every frame"):
        examined(one(np.full((T, 25, 3), np.nan, np.float32)))
