"""7z archives as roots: unpacked once, kept while a set is refused, removed once it is published."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skelssl.core.errors import UserError
from skelssl.data.archives import unpacked
from tests.helpers.pku import put, write

py7zr = pytest.importorskip("py7zr")
LABELS = {"0002-L": "3,2,9,1\n12,10,30,2\n", "0002-M": "8,5,20,1", "0291-R": "8,1,30,1"}


def pack(folder: Path, archive: Path) -> Path:
    with py7zr.SevenZipFile(archive, "w") as file:
        file.writeall(folder, folder.name)
    return archive


def raw(tmp_path: Path) -> list[Path]:
    """``Skeleton.7z`` and ``Label_PKUMMD.7z``, with a file that is not wanted."""
    write(tmp_path / "in", LABELS)
    put(tmp_path / "in" / "label" / "Actions.xlsx", b"no text")
    packed = [("skeleton", "Skeleton.7z"), ("label", "Label_PKUMMD.7z")]
    roots = [pack(tmp_path / "in" / folder, tmp_path / name) for folder, name in packed]
    shutil.rmtree(tmp_path / "in")
    return roots


def test_from_archives_to_a_store_with_one_command(tmp_path: Path) -> None:
    roots = raw(tmp_path)
    command = [sys.executable, "-m", "skelssl.prepare", "dataset=pku1", f"data_root={tmp_path / 'data'}",
               f"raw={','.join(map(str, roots))}"]  # fmt: skip
    folder = tmp_path / "data" / "pku1" / "v1"
    refused = subprocess.run([*command, "strict=true"], capture_output=True, text=True)
    assert (refused.returncode, refused.stdout.count("unpacking")) == (2, 2)
    assert "found 4 of 21,545 expected clips" in refused.stderr
    assert sorted(path.name for path in folder.rglob("*-*.txt")) == sorted([f"{s}.txt" for s in LABELS] * 2)
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("unpacking")) == (0, 0), done.stderr
    assert not (folder / ".unpacked").exists()
    assert json.loads((folder / "splits" / "xsub.json").read_text()) == {
        "train": ["0002-L_001", "0002-L_002", "0002-M_001"],
        "test": ["0291-R_001"],
    }


def test_unpacking_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots, unpack = raw(tmp_path), py7zr.SevenZipFile.extract

    def killed(self: object, path: Path, targets: list[str]) -> None:
        if "label/0002-L.txt" in targets:
            raise KeyboardInterrupt
        unpack(self, path, targets)

    monkeypatch.setattr(py7zr.SevenZipFile, "extract", killed)
    with pytest.raises(KeyboardInterrupt), unpacked(roots, tmp_path / "v1"):
        pass
    (first,) = (tmp_path / "v1" / ".unpacked").iterdir()
    monkeypatch.setattr(py7zr.SevenZipFile, "extract", unpack)
    before = first.stat().st_mtime_ns
    stale = put(first.with_name(".Label_PKUMMD-0.1.tmp") / "half", b"")
    plain = tmp_path / "plain"
    with unpacked([*roots, plain], tmp_path / "v1") as found:
        assert (found[1], found[1].stat().st_mtime_ns, found[0]) == (first, before, plain)
        assert {path.name for path in found[2].rglob("*") if path.is_file()} == {f"{stem}.txt" for stem in LABELS}
    assert not stale.exists()
    assert not (tmp_path / "v1" / ".unpacked").exists()


def test_roots_without_archives_stay_as_they_are(tmp_path: Path) -> None:
    with unpacked([tmp_path, tmp_path / "gone"], tmp_path / "v1") as roots:
        assert roots == [tmp_path, tmp_path / "gone"]
    assert not (tmp_path / "v1").exists()


def test_archives_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, sentence: str) -> None:
        with pytest.raises(UserError, match=sentence), unpacked([path], tmp_path / "v1"):
            pass

    root = raw(tmp_path)[0]
    half = put(tmp_path / "half.7z", root.read_bytes()[:-40])
    refuse(half, r"^raw=.*half.7z: cannot be unpacked .*, expected a complete, unlocked archive$")
    other = pack(put(tmp_path / "other" / "notes.md", b"x").parent, tmp_path / "other.7z")
    refuse(other, r"other.7z: found no .skeleton or .txt file inside")
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    refuse(root, r"v1/.unpacked: found 0.0 GB free, expected .* GB for unpacking \(D33\)$")
    monkeypatch.setitem(sys.modules, "py7zr", None)
    refuse(root, r"Skeleton.7z: found a 7z archive, expected py7zr to read it: pip install 'skelssl\[archives\]'$")
    assert not list((tmp_path / "v1" / ".unpacked").iterdir())
