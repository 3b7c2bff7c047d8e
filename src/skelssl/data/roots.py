"""Find raw files under the paths of a user: in folders, nested folders and zips, which are never unpacked."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from skelssl.core.errors import UserError
from skelssl.data.report import Report
from skelssl.data.source import BadInput, Entry

TEXT_SUFFIXES = (".skeleton", ".txt")  # of raw recordings, their labels and lists


def scan(roots: Sequence[Path], suffix: str | tuple[str, ...]) -> Iterator[Entry]:
    """Yield all files whose name ends in ``suffix`` (any case), named by the stem; a root may be such a file.

    Raises:
        UserError: for a root that is neither a folder nor a zip nor such a file
    """
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    for root in roots:
        if root.is_dir():
            yield from _scan_folder(root, suffixes)
        elif zipfile.is_zipfile(root):
            yield from _scan_zip(root, suffixes)
        elif root.is_file() and _stem(root.name, suffixes):
            yield _on_disk(str(root), suffixes)
        else:
            found = "a file that is no zip" if root.exists() else "nothing"
            found = "part of a zip, as an incomplete download leaves it" if _begins_a_zip(root) else found
            raise UserError(f"raw={root}: found {found}, expected a folder or a zip with {' or '.join(suffixes)} files")


def _begins_a_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"PK\3\4"


def _scan_folder(root: Path, suffixes: Sequence[str]) -> Iterator[Entry]:
    """Yield the files and the members of zips at any depth below ``root``."""

    def stop(error: OSError) -> None:
        raise UserError(f"raw={error.filename}: cannot be read ({error.strerror}), expected a folder") from error

    for folder, _, files in os.walk(root, followlinks=True, onerror=stop):
        for file in files:
            path = os.path.join(folder, file)
            if _stem(file, suffixes):
                yield _on_disk(path, suffixes)
            elif file.lower().endswith(".zip") and not file.startswith("."):
                yield from scan([Path(path)], tuple(suffixes))


def _on_disk(path: str, suffixes: Sequence[str]) -> Entry:
    try:
        stat = os.stat(path)
    except OSError as error:  # a broken link, for example
        raise UserError(f"raw={path}: cannot be read ({error.strerror}), expected a file") from error
    return Entry(_stem(os.path.basename(path), suffixes), path, size=stat.st_size, stamp=stat.st_mtime_ns)


def _scan_zip(root: Path, suffixes: Sequence[str]) -> Iterator[Entry]:
    for info in _archive(str(root), os.stat(root).st_mtime_ns).infolist():
        file = info.filename.rpartition("/")[2]
        if stem := _stem(file, suffixes):
            yield Entry(stem, str(root), info.filename, info.file_size, info.CRC)


def _stem(file: str, suffixes: Sequence[str]) -> str:
    """Return the name without suffix, "" for an unwanted file; macOS zips have a "._" duplicate of every file."""
    found = next((suffix for suffix in suffixes if file.lower().endswith(suffix)), None)
    return "" if found is None or file.startswith(".") else file[: -len(found)]


@lru_cache(maxsize=8)
def _archive(path: str, mtime_ns: int) -> zipfile.ZipFile:
    """Open a zip once per process: reading the list of 50,000 members takes longer than parsing many of them."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"raw={path}: found a zip that cannot be read ({error}), expected a complete download"
        ) from error


def read_bytes(entry: Entry, limit: int = -1) -> bytes:
    """Return the content of a raw file, or its first ``limit`` bytes; raise BadInput if disk or zip fail."""
    try:
        if entry.member is None:
            with open(entry.location, "rb") as file:
                return file.read(limit)
        with _archive(entry.location, os.stat(entry.location).st_mtime_ns).open(entry.member) as member:
            return member.read(limit)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadInput("D02", f"damaged member of the zip ({error})") from error
    except OSError as error:
        raise BadInput("D33", f"cannot be read ({error.strerror})") from error


def one_per_name(entries: Sequence[Entry], report: Report) -> list[Entry]:
    """Return the entries sorted by name, copies only once (D18); raise UserError if their bytes differ."""
    chosen = []
    for name, group in groupby(sorted(entries, key=lambda e: (e.name, str(e))), key=lambda e: e.name):
        first, *others = group
        for other in others:
            if hashlib.sha1(read_bytes(first)).digest() != hashlib.sha1(read_bytes(other)).digest():
                raise UserError(
                    f"{name}: found two files of different content (D18), {first} and {other}, expected one"
                )
            report.warn("D18", name)
        chosen.append(first)
    return chosen
