"""Clips of a user's own on disk: which there are, what is said about each, and the array inside.

Name, label and facts come from the place of the file, from the file itself and from its line in an index; the later of
these has the last word.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.data.prepare_report import Report
from skelssl.data.source import FACTS, BadInput
from skelssl.errors import UserError
from skelssl.skeleton import Layout

PERSONS = 2
_KNOWN = ("file", "name", "label", *FACTS, "split", "layout")
_LINE = (*_KNOWN, "fps")
_NW_UCLA = re.compile("(?P<label>a[0-9]+)_s(?P<subject>[0-9]+)_e(?P<replication>[0-9]+)_v(?P<camera>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Found:
    """One clip as it is described, the label still as the user wrote it."""

    where: str  # the file, or the line of the index, that names the clip
    path: Path
    name: str
    label: int | str
    facts: Mapping[str, int]
    split: str | None  # train | test, where the index says so


def find(root: Path, layout: str, report: Report) -> Iterator[Found]:
    """The clips below a folder or in a ``.jsonl`` index; what is left out, and why, is noted in the report.

    Raises UserError for a root that is neither and for what a user can mend: a malformed line, an unknown key, a fact
    that is no whole number.
    """
    left_out = set[str]()
    for where, path, place, line in _in_folder(root, report) if root.is_dir() else _in_index(root):
        try:
            said = {**place, **inside(path), **line}
            left_out |= said.keys() - set(_KNOWN)
            yield _found(where, path, said, layout)
        except BadInput as bad:
            report.skip(str(line.get("name", place["name"])), bad.code, f"{bad.reason}, {where}")
    if left_out:
        report.notes.append(f"{root}: {', '.join(sorted(left_out))} left out, since nothing reads it")


Described = tuple[str, Path, dict[str, Any], dict[str, Any]]  # where, file, what its place says, what its line says


def _in_folder(root: Path, report: Report) -> Iterator[Described]:
    others = 0
    for folder, folders, files in os.walk(root, followlinks=True):
        folders.sort()
        for path in (Path(folder, file) for file in sorted(files) if not file.startswith(".")):
            inner = path.relative_to(root)
            if path.suffix in READERS:
                label = inner.parts[0] if len(inner.parts) > 1 else None
                yield str(path), path, {"name": inner.with_suffix("").as_posix(), "label": label}, {}
            else:
                others += 1
    if others:
        report.notes.append(f"{root}: {others} files left out that are none of {', '.join(READERS)}")


def _in_index(index: Path) -> Iterator[Described]:
    if index.suffix != ".jsonl":
        raise UserError(f"raw={index}: found a file that is no index, expected a folder of clips or INDEX.jsonl")
    try:
        lines = index.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"raw={index}: cannot be read ({error}), expected UTF-8 text") from error
    for number, text in enumerate(lines, 1):
        if text.strip():
            where = f"{index} line {number}"
            line = _line(text, where)
            file = Path(line["file"])
            name = file.stem if file.is_absolute() else file.with_suffix("").as_posix()
            yield where, index.parent / file, {"name": name}, line


def _line(text: str, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: found malformed JSON ({error}), expected one object a line") from error
    if not isinstance(line, dict) or not isinstance(line.get("file"), str):
        raise UserError(f'{where}: found {text.strip()[:60]}, expected an object with the path of a clip under "file"')
    if unknown := next((key for key in line if key not in _LINE), None):
        raise UserError(f"{where}: unknown key {unknown!r}, expected some of {', '.join(_LINE)}")
    if Path(line["file"]).suffix not in READERS:
        raise UserError(f"{where}: found file {line['file']}, expected one of {', '.join(READERS)}")
    return {key: value for key, value in line.items() if value is not None}


def inside(path: Path) -> dict[str, Any]:
    """What a clip says of itself beside its array: the keys of an ``.npz``, a name of NW-UCLA's form of a ``.json``."""
    if not path.is_file():
        raise BadInput("D26", f"found no file {path}")
    if path.stat().st_size == 0:
        raise BadInput("D01", "empty file")
    if path.suffix == ".json":
        match = _NW_UCLA.fullmatch(path.stem)
        return match.groupdict() | {k: int(v) for k, v in match.groupdict().items() if k in FACTS} if match else {}
    if path.suffix != ".npz":
        return {}
    with _archive(path) as file:
        own = _array_key(file.files)
        return {key: _scalar(file[key]) if key in _KNOWN else None for key in file.files if key != own}


def _array_key(keys: Sequence[str]) -> str | None:
    """Under which key of an ``.npz`` the clip lies: ``x``, or the only one that says nothing about it."""
    arrays = [key for key in keys if key not in _LINE]
    return "x" if "x" in keys else arrays[0] if len(arrays) == 1 else None


def _scalar(value: NDArray[Any]) -> Any:
    return value.item() if value.size == 1 else value.tolist()


def _found(where: str, path: Path, said: Mapping[str, Any], layout: str) -> Found:
    if said.get("layout", layout) != layout:
        raise UserError(
            f"{where}: found layout {said['layout']!r}, expected {layout} as for the whole set, "
            "or its own name in dataset.layout"
        )
    if said.get("split") not in (None, "train", "test"):
        raise UserError(f"{where}: found split {said['split']!r}, expected train or test")
    label = said.get("label")
    if _says_nothing(label):
        raise BadInput("D35", "no label, neither in the index nor in the file nor as its folder")
    facts = {key: _whole(said[key], key, where) for key in FACTS if said.get(key) is not None}
    label = label.strip() if isinstance(label, str) else _whole(label, "label", where)
    return Found(where, path, str(said["name"]), label, facts, said.get("split"))


def _says_nothing(label: Any) -> bool:
    """Whether a label is absent, blank or NaN, the last as a number, as words such as ``NaN NaN``, or in a list."""
    if isinstance(label, str):
        return set(label.lower().split()) <= {"nan"}
    if isinstance(label, list):
        return all(map(_says_nothing, label))
    return label is None or label != label


def _whole(value: Any, key: str, where: str) -> int:
    if type(value) in (int, float) and float(value).is_integer() and value >= 0:
        return int(value)
    raise UserError(f"{where}: found {key} {value!r}, expected a whole number of at least 0")


def read_array(path: Path, body: Layout, *, flat: bool = False) -> NDArray[np.float32]:
    """The array of a clip as (T, M, V, 3) with M = 1 or 2; raises BadInput where it has another shape or no numbers.

    ``flat``: it holds x, y and confidence, or x and y alone; see `in_plane`.
    """
    try:
        x = READERS[path.suffix](path)
    except OSError as error:
        raise BadInput("D33", f"cannot be read ({error.strerror or error})") from error
    if x.dtype.kind not in "fiu":
        raise BadInput("D24", f"found {x.dtype} in the array, expected numbers")
    joints, found, x = len(body.joints), x.shape, x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[2] != joints or x.shape[3] not in ((2, 3) if flat else (3,)):
        last = "2 or 3" if flat else "3"
        hint = "; 2-D clips need dataset.coordinates=xyc" if x.shape[-1] == 2 and not flat else ""
        expected = f"(T, {joints}, {last}) or (T, M, {joints}, {last}) of {body.name}{hint}"
        raise BadInput("D24", f"found shape {found}, expected {expected}")
    if not 1 <= x.shape[1] <= PERSONS:
        raise BadInput("D24", f"found {x.shape[1]} persons in shape {found}, expected 1 or 2 in (T, M, {joints}, 3)")
    if len(x) == 0:
        raise BadInput("D04", "no frame")
    return in_plane(x.astype(np.float32)) if flat else x.astype(np.float32)


def in_plane(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, M, V, 2) or (T, M, V, 3) -> x, y and confidence (T, M, V, 3), zeros where a joint is not seen.

    Without a third number a joint is seen, surely, where it is not (0, 0). NaN is not seen. Raises BadInput for a
    confidence that is none.
    """
    place = x[..., :2]
    sure = x[..., 2] if x.shape[-1] == 3 else np.any(place != 0, axis=-1).astype(np.float32)
    sure = np.where(np.isfinite(place).all(-1) & np.isfinite(sure), sure, np.float32(0))
    if sure.min() < 0 or sure.max() > 1:
        odd = sure.min() if sure.min() < 0 else sure.max()
        raise BadInput("D24", f"found confidence {odd:.4g} in the third place, expected numbers of 0 to 1 (xyc)")
    flat: NDArray[np.float32] = np.where(
        sure[..., None] > 0, np.concatenate([place, sure[..., None]], -1), np.float32(0)
    )
    return flat


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise BadInput(
            "D32", f"half-written, or no array of numbers ({error}): delete it and write it again"
        ) from error


def _read_npz(path: Path) -> NDArray[Any]:
    with _archive(path) as file:
        if (key := _array_key(file.files)) is None:
            raise BadInput("D24", f"found the keys {', '.join(file.files)}, expected the array under x or alone")
        return np.asarray(file[key])


@contextmanager
def _archive(path: Path) -> Iterator[Any]:
    if not zipfile.is_zipfile(path):
        raise BadInput("D02", "no whole .npz archive")
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput("D02", f"damaged archive, or no plain arrays ({error})") from error


def _read_json(path: Path) -> NDArray[Any]:
    """NW-UCLA's ``all_sqe``: one person, joints in the order of Kinect v1."""
    try:
        return np.array(json.loads(path.read_bytes())["skeletons"], np.float64)
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput("D24", f'found no "skeletons" of frames of joints of x, y, z ({error})') from error


READERS: dict[str, Callable[[Path], NDArray[Any]]] = {".npy": _read_npy, ".npz": _read_npz, ".json": _read_json}
