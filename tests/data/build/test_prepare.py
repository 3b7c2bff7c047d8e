"""From raw files to a published store: equal bytes for any worker count and after a kill, and honest reports."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skelssl.core import files as module
from skelssl.core.errors import UserError
from skelssl.data.build import shards
from skelssl.data.build.prepare import build_parsed, parsed_folder, prepare_dataset, split_paths
from skelssl.data.ntu.source import NTU
from skelssl.data.parsed import ParsedStore
from skelssl.data.report import Report
from tests.helpers.clips import assert_same, make_clip, write_clips
from tests.helpers.ntu_text import format_skeleton
from tests.helpers.shared import data, shared

NAMES = [f"S001C00{c}P00{p}R001A00{a}" for a in (1, 2) for p in (1, 3) for c in (1, 2, 3)]
ROOT = Path(__file__).parents[3]


def build(raw: Path, folder: Path, workers: int = 1, strict: bool = False, shard_size: int = 5) -> None:
    build_parsed(
        NTU(), [raw], folder, workers=workers, strict=strict, shard_size=shard_size, progress=False
    )  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_store_holds_the_files_sorted(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "raw", NAMES)
    build(tmp_path / "raw", tmp_path / "v1" / "parsed")
    store = ParsedStore(tmp_path / "v1" / "parsed")
    assert store.names == sorted(NAMES)
    for clip in clips:
        assert_same(store.clip(store.names.index(clip.name)), clip)
    splits = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "v1" / "splits").iterdir()}
    assert splits["xsub"] == {"train": [n for n in store.names if "P001" in n],
                              "test": [n for n in store.names if "P003" in n]}  # fmt: skip
    assert splits["xview"]["test"] == [n for n in store.names if "C001" in n]
    assert not list((tmp_path / "v1").glob(".parsed*"))


def test_bytes_do_not_depend_on_workers_or_shards(tmp_path: Path) -> None:
    write_clips(tmp_path / "raw", NAMES)
    (tmp_path / "raw" / "S001C001P001R001A009.skeleton").write_bytes(b"")
    runs = [(1, 5), (2, 5), (4, 2), (1, 1), (2, 100)]
    for workers, size in runs:
        build(tmp_path / "raw", tmp_path / f"{workers}-{size}" / "parsed", workers, shard_size=size)
    first, *others = (content(tmp_path / f"{workers}-{size}" / "parsed") for workers, size in runs)
    assert len(first) == 7
    assert all(other == first for other in others)


def test_a_finished_shard_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path / "raw", NAMES)
    build(tmp_path / "raw", tmp_path / "whole" / "parsed")
    read: list[str] = []

    def failing(limit: int) -> Callable[..., object]:
        def inner(self: NTU, entry: object) -> object:
            read.append(entry.name)  # type: ignore[attr-defined]
            if len(read) > limit:
                raise KeyboardInterrupt
            return original(self, entry)  # type: ignore[arg-type]

        return inner

    original = NTU.read
    monkeypatch.setattr(NTU, "read", failing(7))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "raw", tmp_path / "v1" / "parsed")
    assert not (tmp_path / "v1" / "parsed").exists()
    read.clear()
    monkeypatch.setattr(NTU, "read", failing(99))
    build(tmp_path / "raw", tmp_path / "v1" / "parsed")
    assert read == sorted(NAMES)[5:]
    assert content(tmp_path / "v1" / "parsed") == content(tmp_path / "whole" / "parsed")


def test_sigkill_and_resume(tmp_path: Path) -> None:
    names = [f"S001C001P{p:03d}R00{r}A{a:03d}" for p in range(1, 9) for r in (1, 2) for a in range(1, 31)]
    write_clips(tmp_path / "raw", names)
    build(tmp_path / "raw", tmp_path / "whole" / "parsed", shard_size=10)
    folder = tmp_path / "v1" / "parsed"
    code = (
        "import sys; from pathlib import Path; from skelssl.data.ntu.source import NTU\n"
        "from skelssl.data.build.prepare import build_parsed\n"
        "if __name__ == '__main__':\n"
        "    build_parsed(NTU(), [Path(sys.argv[1])], Path(sys.argv[2]), workers=2, strict=False, shard_size=10,\n"
        "                 progress=False)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "raw"), str(folder)])
    work = folder.with_name(".parsed.shards")
    while process.poll() is None and len(list(work.glob("*.npz"))) < 5:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not folder.exists()
    done = {path.name: path.stat().st_mtime_ns for path in work.glob("[!.]*.npz")}
    assert len(done) >= 5
    build(tmp_path / "raw", folder, workers=2, shard_size=10)
    assert content(folder) == content(tmp_path / "whole" / "parsed")


def test_a_shard_holds_no_more_bytes_than_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path / "raw", NAMES)
    entries = NTU().entries([tmp_path / "raw"], Report("ntu60"))
    assert [len(cut) for cut in shards.plan(NTU(), entries, tmp_path, 5).values()] == [5, 5, 2]
    sizes = [entry.size for entry in entries]
    monkeypatch.setattr(shards, "SHARD_BYTES", sum(sizes[:3]))
    cuts = list(shards.plan(NTU(), entries, tmp_path, 5).values())
    assert [entry for cut in cuts for entry in cut] == entries
    assert len(cuts[0]) == 3
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)  # a file that is larger stands alone
    assert [len(cut) for cut in shards.plan(NTU(), entries, tmp_path, 5).values()] == [1] * len(NAMES)


def test_unchanged_inputs_are_kept_and_changed_ones_parsed(tmp_path: Path) -> None:
    write_clips(tmp_path / "raw", NAMES)
    folder = tmp_path / "ntu60" / "v1" / "parsed"
    settings = {"data_root": tmp_path, "raw": [tmp_path / "raw"], "workers": 1, "strict": False}
    assert prepare_dataset(NTU(), **settings).built  # type: ignore[arg-type]
    before = (folder / "bodies.npy").stat().st_ino
    shutil.move(tmp_path / "raw", tmp_path / "moved")
    settings["raw"] = [tmp_path / "moved"]
    again = prepare_dataset(NTU(), **settings)  # type: ignore[arg-type]
    assert not again.built
    assert "nothing to do" in again.notes[0]
    assert again.counts["clips"] == len(NAMES)
    assert (folder / "bodies.npy").stat().st_ino == before
    write_clips(tmp_path / "moved", ["S001C001P001R001A003"])
    assert prepare_dataset(NTU(), **settings).built  # type: ignore[arg-type]
    assert len(ParsedStore(folder)) == len(NAMES) + 1
    with pytest.raises(UserError, match="found 13 of 56,578"):
        prepare_dataset(NTU(), **{**settings, "strict": True})  # type: ignore[arg-type]


def test_strict_names_what_is_missing_and_publishes_the_report_alone(tmp_path: Path) -> None:
    write_clips(tmp_path / "raw", NAMES)
    (tmp_path / "raw" / "S001C001P001R001A009.skeleton").write_bytes(b" \n")
    sentence = (
        r"^ntu60: found 12 of 56,578 expected clips; missing all of setups S002…S017, all of actions A003…A060; "
        r"skipped S001C001P001R001A009 \(D01 empty file\); without strict=true it is accepted; "
        r"the report is .*/report\.json$"
    )
    with pytest.raises(UserError, match=sentence):
        build(tmp_path / "raw", tmp_path / "v1" / "parsed", strict=True)
    assert {path.name for path in (tmp_path / "v1").iterdir() if path.name[0] != "."} == {"report.json"}
    report = json.loads((tmp_path / "v1" / "report.json").read_text())
    assert report["skipped"] == [
        {"name": "S001C001P001R001A009", "code": "D01", "reason": "empty file", "tolerated": False}
    ]
    build(tmp_path / "raw", tmp_path / "v1" / "parsed", strict=False)
    assert len(ParsedStore(tmp_path / "v1" / "parsed")) == 12


def test_equal_clips_are_listed_and_leaks_named(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    twins = ["S001C002P001R001A002", "S001C003P001R001A002"]
    for name in [*twins, "S001C001P001R001A002"]:
        clip = make_clip(name, seed=7)
        (tmp_path / "raw" / f"{name}.skeleton").write_bytes(format_skeleton(clip))
    report = build_parsed(
        NTU(), [tmp_path / "raw"], tmp_path / "v1" / "parsed", workers=1, strict=False, progress=False
    )  # fmt: skip
    group = sorted([*twins, "S001C001P001R001A002"])
    assert report.duplicates == [group]
    assert report.leaks == {"xsub": [], "xview": [group]}
    assert f"equal clips on both sides of xview (D17): {' = '.join(group)}" in (report.leak() or "")


def test_targets_that_cannot_hold_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path / "raw", NAMES)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"):
        build(tmp_path / "raw", tmp_path / "file" / "parsed")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"found 0.0 GB free, expected .* GB for parsing"):
        build(tmp_path / "raw", tmp_path / "v1" / "parsed")


def test_nothing_to_prepare(tmp_path: Path) -> None:
    settings = {"data_root": tmp_path, "workers": 1, "strict": False}
    with pytest.raises(UserError, match=r"raw=.*gone: found nothing there"):
        prepare_dataset(NTU(), raw=[tmp_path / "gone"], **settings)  # type: ignore[arg-type]
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="found no file of ntu60"):
        prepare_dataset(NTU(), raw=[tmp_path / "raw"], **settings)  # type: ignore[arg-type]
    (tmp_path / "raw" / f"{NAMES[0]}.skeleton").write_bytes(b"")
    with pytest.raises(UserError, match=r"found no usable clip.*D01"):
        prepare_dataset(NTU(), raw=[tmp_path / "raw"], **settings)  # type: ignore[arg-type]


def test_raw_paths_may_hold_commas(tmp_path: Path) -> None:
    odd, plain = tmp_path / "a, b=(1).zip", tmp_path / "c"
    odd.write_bytes(b"")
    plain.write_bytes(b"")
    assert split_paths(f"{odd},{plain}") == [odd, plain]
    assert split_paths(f"{plain},{odd}") == [plain, odd]
    assert split_paths(f"{plain},gone") == [plain, Path("gone")]
    assert split_paths(str(odd)) == [odd]
    assert split_paths([str(odd)]) == [odd]
    assert split_paths(None) == []
    with pytest.raises(UserError, match="raw: found ~no-such-user/a, expected ~ or ~USER"):
        split_paths("~no-such-user/a")
    assert split_paths("x" * 300) == [Path("x" * 300)]  # longer than any name may be


def test_workers_start_without_torch() -> None:
    code = "import sys, skelssl.data.build.shards, skelssl.data.ntu.source; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@shared
def test_a_real_zip(tmp_path: Path) -> None:
    source = NTU(skip_incomplete=False)  # three of its names are on NTU's list of incomplete recordings
    raw = [data("nw_ucla_as_ntu.zip")]
    report = prepare_dataset(source, data_root=tmp_path, raw=raw, workers=2, strict=False)
    assert (report.counts["clips"], len(report.duplicates), report.skipped) == (1484, 95, [])
    assert report.leaks == {"xsub": [], "xview": []}
    folder = parsed_folder(tmp_path, source)
    sizes = {path.stem: [len(names) for names in json.loads(path.read_text()).values()]
             for path in (folder.parent / "splits").iterdir()}  # fmt: skip
    assert sizes == {"xsub": [892, 592], "xview": [968, 516]}
    assert sorted(ParsedStore(folder).index.n_frames)[:3][:2] == [1, 1]


@shared
def test_real_damage_ends_in_the_report(tmp_path: Path) -> None:
    raw = [data("ntu_raw", "damaged")]
    report = prepare_dataset(NTU(), data_root=tmp_path, raw=raw, workers=1, strict=False)
    assert {skip.name[-4:]: skip.code for skip in report.skipped} == {"A054": "D02", "A055": "D01", "A056": "D04"}
    assert report.warned["D05"] == ["S004C002P003R001A001"]
    assert report.counts["clips"] == 4
