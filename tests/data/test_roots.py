"""Folders, nested folders and zips as roots."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from skelssl.core.errors import UserError
from skelssl.data.report import Report
from skelssl.data.roots import one_per_name, read_bytes, scan
from skelssl.data.source import BadInput


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_several_roots_of_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.skeleton").write_bytes(b"1")
    (tmp_path / "in" / "notes.txt").write_bytes(b"no")
    flat = make_zip(tmp_path / "b, (1)=.zip", {"b.skeleton": b"22", "._b.skeleton": b"mac"})
    inside = make_zip(tmp_path / "c.zip", {"nturgb+d_skeletons/c.skeleton": b"333", "nturgb+d_skeletons/": b""})
    entries = list(scan([tmp_path / "in", flat, inside], ".skeleton"))
    assert [(entry.name, entry.size, read_bytes(entry)) for entry in entries] == [
        ("a", 1, b"1"),
        ("b", 2, b"22"),
        ("c", 3, b"333"),
    ]


def test_files_as_roots_and_suffixes_of_any_case(tmp_path: Path) -> None:
    for name in ("a.txt", "b.Skeleton", "c.md", ".txt"):
        (tmp_path / name).write_bytes(b"12345")
    entries = list(scan([tmp_path / "a.txt", tmp_path], (".txt", ".skeleton")))
    assert [entry.name for entry in entries[:1]] == ["a"]
    assert sorted(entry.name for entry in entries[1:]) == ["a", "b"]
    assert read_bytes(entries[0], 2) == b"12"
    with pytest.raises(UserError, match=r"c.md: found a file that is no zip, expected a folder or a zip with .txt or"):
        list(scan([tmp_path / "c.md"], (".txt", ".skeleton")))
    archive = make_zip(tmp_path / "d.zip", {"in/D.TXT": b"12345"})
    assert [(entry.name, read_bytes(entry, 3)) for entry in scan([archive], ".txt")] == [("D", b"123")]


def test_copies_are_used_once_and_clashes_refused(tmp_path: Path) -> None:
    for folder, data in (("one", b"same"), ("two", b"same"), ("three", b"else")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.skeleton").write_bytes(data)
    report = Report("x")
    entries = one_per_name(list(scan([tmp_path / "two", tmp_path / "one"], ".skeleton")), report)
    assert [entry.location for entry in entries] == [str(tmp_path / "one" / "a.skeleton")]
    assert report.warned == {"D18": ["a"]}
    with pytest.raises(UserError, match=r"^a: found two files of different content \(D18\), .*one.* and .*three"):
        one_per_name(list(scan([tmp_path / "one", tmp_path / "three"], ".skeleton")), Report("x"))


def test_a_damaged_member_is_bad_input(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.skeleton": bytes(range(256)) * 20})
    data = bytearray(path.read_bytes())
    data[60:80] = b"\xff" * 20
    path.write_bytes(data)
    (entry,) = scan([path], ".skeleton")
    with pytest.raises(BadInput, match="D02: damaged member"):
        read_bytes(entry)


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"raw=.*gone: found nothing, expected a folder or a zip"):
        list(scan([tmp_path / "gone"], ".skeleton"))
    (tmp_path / "half.zip").write_bytes(b"PK\x03\x04 half a download")
    with pytest.raises(UserError, match=r"half.zip: found part of a zip, as an incomplete download leaves it"):
        list(scan([tmp_path / "half.zip"], ".skeleton"))


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "S001C001P001R001A001.skeleton").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"A001\.skeleton: cannot be read"):
        list(scan([tmp_path], ".skeleton"))
