"""``verify=true`` finds what was changed, cut, mixed up or forgotten, and passes what is sound."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.build import verify as module
from skelssl.data.build.prepare import build_parsed, parsed_folder
from skelssl.data.build.verify import Findings, verify_dataset
from skelssl.data.ntu.source import NTU
from skelssl.data.parsed import ClipIndex, ParsedStore, pack, write_store
from skelssl.data.recipes import RecipeConfig
from skelssl.data.split import Split, write_splits
from skelssl.data.store import open_store
from skelssl.prepare import main
from tests.helpers.bodies import body
from tests.helpers.clips import make_clip
from tests.helpers.ntu_text import format_skeleton
from tests.helpers.shared import data, shared

NAMES = [f"S001C00{c}P00{p}R001A00{a}" for a in (1, 2) for p in (1, 3) for c in (1, 2)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with eight clips of ntu60 and the stores of two recipes."""
    root = tmp_path_factory.mktemp("made")
    raw = root / "raw"
    raw.mkdir()
    for seed, name in enumerate(NAMES):
        clip = make_clip(name, counts=[1] * 20, seed=seed)
        clip.body_id[:], clip.bodies[:] = 1, body(20, seed=seed)
        (raw / f"{name}.skeleton").write_bytes(format_skeleton(clip))
    folder = parsed_folder(root, NTU())
    build_parsed(NTU(), [raw], folder, workers=1, strict=False, progress=False)
    for recipe in ("aimclr", "ctrgcn"):
        open_store(folder, RecipeConfig(recipe))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "root")


def check(root: Path, *, strict: bool | None = False) -> Findings:
    return verify_dataset(NTU(), data_root=root, strict=strict)


def rows(findings: Findings) -> dict[str, tuple[str, str]]:
    return {what: (found, remark) for what, found, remark in findings.rows}


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_sound_set_is_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "raw")
    found = rows(check(root))
    assert found["clips"] == ("8", "of 56,578")
    assert found["xsub train"] == ("4", "of 40,091")
    assert found["xview test"] == ("4", "of 18,932")
    assert found["xsub from the names"] == ("4 and 4", "same")
    assert found["frames"] == ("160", "a clip 20 to 20, median 20")
    assert found["bodies at once"][0] == "1: 8"
    store = ParsedStore(root / "ntu60" / "v1" / "parsed")
    assert found["fingerprint"] == (store.fingerprint[:16], "as written")
    derived = open_store(store.folder, RecipeConfig("aimclr"))
    assert found[derived.folder.name] == (derived.fingerprint[:16], "8 clips, 0 skipped, as written")
    assert "sound" in capsys.readouterr().out.splitlines()[-1]
    sentence = r"found 8 of 56,578 expected clips; missing all of setups S002…S017, .*; strict=false lets it pass"
    with pytest.raises(UserError, match=sentence):
        check(root, strict=True)


@pytest.mark.parametrize("array", ["bodies", "body_id", "track", "frame_ptr"])
@pytest.mark.parametrize("block", [1 << 24, 64])
def test_a_flipped_bit_of_the_parsed_store(root: Path, array: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    path = root / "ntu60" / "v1" / "parsed" / f"{array}.npy"
    check(root)
    flip(path, -9 if array == "frame_ptr" else -1)
    with pytest.raises(UserError, match=rf"parsed: found content of fingerprint .*changed: .*{NAMES[-1]}.*expected"):
        check(root)


def test_a_flipped_bit_of_a_recipe_store(root: Path) -> None:
    stores = root / "ntu60" / "v1" / "recipes"
    flip(next(stores.glob("aimclr-*/x.npy")))
    with pytest.raises(UserError, match=r"^[^;]*aimclr-\w+: found content of fingerprint .*delete the folder[^;]*$"):
        check(root)
    edit(next(stores.glob("ctrgcn-*/recipe.json")), lambda about: about["labels"].reverse())
    with pytest.raises(UserError, match=r"aimclr-\w+: found content .*; .*ctrgcn-\w+: found content"):
        check(root)


def test_nan_in_a_store(root: Path) -> None:
    path = next((root / "ntu60" / "v1" / "recipes").glob("ctrgcn-*/x.npy"))
    x = np.load(path, mmap_mode="r+")
    x[3, 0, :2, 1] = np.nan, np.inf
    x.flush()
    with pytest.raises(UserError, match=r"ctrgcn-\w+: found 2 NaN or infinite numbers, expected none"):
        check(root)


@pytest.mark.parametrize("file", ["bodies.npy", "sample_ptr.npy"])
def test_a_cut_file(root: Path, file: str) -> None:
    path = root / "ntu60" / "v1" / "parsed" / file
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"{file}: found a missing or half-written array \(D32"):
        check(root)


def test_a_cut_or_lost_part_of_a_recipe_store(root: Path) -> None:
    folder = next((root / "ntu60" / "v1" / "recipes").glob("aimclr-*/"))
    x = (folder / "x.npy").read_bytes()
    (folder / "x.npy").write_bytes(x[:-3])
    with pytest.raises(UserError, match=r"x\.npy: cannot be read \(D32"):
        check(root)
    (folder / "x.npy").write_bytes(x)
    edit(folder / "recipe.json", lambda about: about.pop("recipe"))
    with pytest.raises(UserError, match=r"recipe\.json: found no 'recipe'"):
        check(root)
    (folder / "recipe.json").unlink()
    with pytest.raises(UserError, match=r"recipe\.json: cannot be read"):
        check(root)


def test_stale_and_outdated_recipe_stores_are_said_and_do_no_harm(root: Path) -> None:
    stores = root / "ntu60" / "v1" / "recipes"
    first, second = (next(stores.glob(f"{name}-*/recipe.json")) for name in ("aimclr", "ctrgcn"))
    edit(first, lambda about: about.update(parsed="older"))
    edit(second, lambda about: about["recipe"].update(version=0))
    found = rows(check(root))
    assert found[first.parent.name][1].endswith("as written, stale: derived again on its next use")
    assert found[second.parent.name] == ("of an older version", "never read again; delete it")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda split: split["train"].append(split["test"].pop()), r"xsub\.json: found 5 training and 3 test clips"),
        (lambda split: split["train"].append(split["test"][0]), r"xsub\.json: found S.*, expected .*each on one side"),
        (lambda split: split["train"].append("drink"), r"xsub\.json: found drink, expected clips of the store"),
    ],
)  # fmt: skip
def test_a_split_that_is_not_what_the_names_say(root: Path, change: Callable[..., object], sentence: str) -> None:
    edit(root / "ntu60" / "v1" / "splits" / "xsub.json", change)
    with pytest.raises(UserError, match=sentence):
        check(root)


def test_a_set_without_splits_or_without_a_store(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "ntu60" / "v1" / "splits")
    with pytest.raises(UserError, match=r"splits: found no split, expected at least one"):
        check(root)
    with pytest.raises(UserError, match="found no parsed store, expected one made by"):
        check(tmp_path)


def test_equal_clips_across_a_split_are_wrong_where_strict(root: Path) -> None:
    path = root / "ntu60" / "v1" / "parsed" / "index.json"
    edit(path, lambda index: index["sha1"].__setitem__(slice(None), list("abacdefg")))
    found = rows(check(root))
    assert found["equal clips (D17)"] == ("2", "groups: 1")
    assert found["groups on both sides of xsub"] == ("1", "")
    assert found["groups on both sides of xview"] == ("0", "")
    first, third = sorted(NAMES)[:3:2]
    with pytest.raises(UserError, match=rf"equal clips on both sides of xsub \(D17\): {first} = {third}"):
        check(root, strict=None)


def test_a_store_whose_names_say_nothing_has_no_rule_to_compare(tmp_path: Path) -> None:
    folder = tmp_path / "ntu60" / "v1" / "parsed"
    folder.mkdir(parents=True)
    index, clips = ClipIndex(), [make_clip(seed=0), make_clip(seed=1)]
    for clip, name in zip(clips, ("row1", "row2"), strict=True):
        index.add(clip)
        index.name[-1] = name
    meta: dict[str, object] = {
        "dataset": "ntu60",
        "layout": "ntu25",
        "form": "ctrgcn",
        "class_names": ["a"],
        "inputs": "",
    }
    meta["arguments"] = {}
    write_store(folder, [pack(clips)], index, meta)
    write_splits({"xsub": Split(("row1",), ("row2",))}, folder.parent / "splits")
    found = rows(check(tmp_path))
    assert found["xsub train"] == ("1", "of 40,091")
    assert "xsub from the names" not in found


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["skelssl prepare", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_exit_codes_of_the_command(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ("dataset=ntu60", "verify=true", f"data_root={root}")
    assert command(monkeypatch, *ask, "strict=false") == 0
    assert "verify ntu60" in capsys.readouterr().out
    assert command(monkeypatch, *ask, "strict=true") == 2
    assert re.fullmatch(r"error: ntu60: found 8 of 56,578 [^\n]*\n", capsys.readouterr().err)
    flip(next((root / "ntu60" / "v1" / "recipes").glob("aimclr-*/x.npy")))
    assert command(monkeypatch, *ask, "strict=false") == 2
    assert re.fullmatch(r"error: [^\n]*aimclr-\w+: found content of [^\n]*\n", capsys.readouterr().err)
    assert (
        command(monkeypatch, "dataset=ntu60", f"raw={root / 'raw'}", f"data_root={root / 'raw'}/{NAMES[0]}.skeleton/x")
        == 2
    )
    assert re.fullmatch(r"error: [^\n]*: cannot be written [^\n]*\n", capsys.readouterr().err)
    assert command(monkeypatch, *ask, "verify=often") == 2
    assert capsys.readouterr().err == "error: verify: found 'often', expected true or false\n"


@shared
def test_a_real_set_is_sound_and_its_duplicates_are_known(tmp_path: Path) -> None:
    source = NTU(skip_incomplete=False)
    raw = [data("nw_ucla_as_ntu.zip")]
    build_parsed(source, raw, parsed_folder(tmp_path, source), workers=1, strict=False, progress=False)
    found = rows(verify_dataset(source, data_root=tmp_path, strict=False))
    assert found["equal clips (D17)"] == ("190", "groups: 95")
    assert found["xview from the names"] == ("968 and 516", "same")
    assert found["frames"][1].startswith("a clip 1 to ")


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from skelssl.data.ntu.source import NTU
from skelssl.data.parsed import ClipIndex, ParsedStore, pack, write_store
from skelssl.data.recipes import RecipeConfig
from skelssl.data.split import Split
from skelssl.data.split import write_splits
from skelssl.data.store import open_store
from skelssl.data.build.verify import verify_dataset
from tests.helpers.bodies import body, clip_of, on

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

clip, index, clips = clip_of({1: on(range(2000), body(2000))}, 2000), ClipIndex(), 300
index.add(clip)
for key in ("name", "label", "n_frames", "max_bodies", "codes", "repaired", "sha1"):
    setattr(index, key, getattr(index, key) * clips)
index.facts = {fact: [1] * clips for fact in index.facts}
index.name = [f"S001C001P001R{n // 60 + 1:03d}A{n % 60 + 1:03d}" for n in range(clips)]
folder = Path(sys.argv[1]) / "ntu60" / "v1" / "parsed"
folder.mkdir(parents=True)
part, before = pack([clip]), peak()
meta = {"dataset": "ntu60", "layout": "ntu25", "form": "raw", "class_names": [], "arguments": {}, "inputs": ""}
write_store(folder, (part for _ in range(clips)), index, meta)
write_splits({"xsub": Split(tuple(index.name), ())}, folder.parent / "splits")
open_store(folder, RecipeConfig("pyskl"))
verify_dataset(NTU(), data_root=Path(sys.argv[1]), strict=False)
size = sum(file.stat().st_size for file in folder.parent.rglob("*.npy")) / 2**20
print(f"{size:.0f} {peak() - before:.0f}")
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    size, grown = map(int, run.stdout.splitlines()[-1].split())
    assert size > 500  # MiB of arrays, written, read by a recipe and checked
    assert grown < 120
    shutil.rmtree(tmp_path / "ntu60")
