"""Write files so that no kill, full disk or second process leaves half of one behind."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from skelssl.core.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` and rename it there once the block has ended well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        file = open(temporary, mode, encoding=None if "b" in mode else "utf-8")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}), expected a folder with write permission"
        ) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def result_file(path: Path) -> Iterator[IO[Any]]:
    """Open a file as `atomic_file` does, for a file that a user asked for: a full disk is a UserError."""
    try:
        with atomic_file(path) as file:
            yield file
    except OSError as error:
        if error.errno in FULL:
            raise UserError(f"{path}: found no room on its disk ({error.strerror}), expected some (D33)") from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; a value JSON cannot hold is an error."""
    with atomic_file(path, "w") as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raise UserError where it is absent or malformed."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: found malformed JSON ({error}), expected a file written by skelssl") from error


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` once the block has ended well; a stale one is replaced."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}), expected a writable data_root") from error
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_stale(folder: Path) -> None:
    """Remove what a killed process left of ``folder``; call it where no other process can be writing it."""
    for stale in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(stale)


def check_space(folder: Path, need: int, purpose: str) -> None:
    """Raise UserError where the disk of ``folder`` has less than ``need`` bytes left (D33)."""
    if (free := shutil.disk_usage(folder).free) < need:
        raise UserError(f"{folder}: found {free / 1e9:.1f} GB free, expected {need / 1e9:.1f} GB {purpose} (D33)")


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock among the processes of one machine (and of a shared disk that supports flock).

    Without ``wait`` a lock that another process holds is a UserError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}), expected a writable data_root") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise UserError(f"{path.parent}: found another process at work there, expected to be alone") from error
        yield


HEADER = 128


class NpyWriter:
    """A writer that appends rows to a ``.npy`` file of unknown length, without holding them in memory."""

    def __init__(self, path: Path, dtype: str, row: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row, self.rows = path, np.dtype(dtype), row, 0
        self.file = open(path, "wb")  # noqa: SIM115
        self.file.write(b"\0" * HEADER)

    def append(self, rows: np.ndarray[Any, Any]) -> bytes:
        """Append (n, *row) and return the bytes written, for hashing."""
        block = np.ascontiguousarray(rows, self.dtype).tobytes()
        self.file.write(block)
        self.rows += len(rows)
        return block

    def close(self) -> None:
        """Write the header and sync the file."""
        head = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.row)}
        text = repr(head).encode("latin1")
        text += b" " * (HEADER - 10 - 1 - len(text)) + b"\n"
        self.file.seek(0)
        self.file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def sha256(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
