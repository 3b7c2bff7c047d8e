"""Unpack the 7z archives among the raw files before parsing: their members can be read only in order."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_folder, check_space, locked, remove_stale
from skelssl.data.roots import TEXT_SUFFIXES

_MAGIC = b"7z\xbc\xaf\x27\x1c"


@contextmanager
def unpacked(roots: Sequence[Path], folder: Path) -> Iterator[list[Path]]:
    """Yield the roots, with each 7z archive among or below them unpacked to a separate root below ``folder``.

    An archive that is already unpacked is not unpacked again, so a call resumes where an earlier one stopped or
    failed. The unpacked files are removed when the block ends without an error.

    Raises:
        UserError: if py7zr is not installed, an archive is damaged, or the disk has too little space
    """
    inside = [path for root in roots if root.is_dir() for path in sorted(root.rglob("*.7z"))]
    archives = [path for path in (*roots, *inside) if _is_7z(path)]
    if not archives:
        yield list(roots)
        return
    work = folder / ".unpacked"
    with locked(folder / ".unpack.lock"):
        yield [*(root for root in roots if root not in archives), *(_unpack(path, work) for path in archives)]
        shutil.rmtree(work)


def _is_7z(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _unpack(path: Path, work: Path) -> Path:
    try:
        import py7zr
        from py7zr import exceptions
    except ImportError as error:
        raise UserError(
            f"raw={path}: found a 7z archive, expected py7zr to read it: pip install 'skelssl[archives]'"
        ) from error
    stat = path.stat()
    key = hashlib.sha256(repr((path.name, stat.st_size, stat.st_mtime_ns)).encode()).hexdigest()[:8]
    target = work / f"{path.stem}-{key}"
    if target.exists():
        return target
    remove_stale(target)
    try:
        with py7zr.SevenZipFile(path) as archive:
            wanted = [file for file in archive.list() if file.filename.lower().endswith(TEXT_SUFFIXES)]
            if not wanted:
                raise UserError(
                    f"raw={path}: found no {' or '.join(TEXT_SUFFIXES)} file inside, expected raw recordings"
                )
            size = sum(file.uncompressed for file in wanted)
            with atomic_folder(target) as temporary:
                check_space(work, size, "for unpacking")
                print(f"unpacking {path.name}, {len(wanted):,} files of {size / 1e9:.2f} GB, into {target}", flush=True)
                archive.extract(temporary, targets=[file.filename for file in wanted])
    except (
        exceptions.ArchiveError,
        exceptions.PasswordRequired,
        exceptions.AbsolutePathError,
        LZMAError,
        EOFError,
    ) as error:
        raise UserError(f"raw={path}: cannot be unpacked ({error}), expected a complete, unlocked archive") from error
    return target
