"""Find custom clips on disk, with their names, labels and facts, and read their arrays.

Name, label and facts come from the path of the file, from the file itself and from its line in an index; the later of
these take precedence.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError
from skelssl.data.custom.arrays import (
    INDEX_KEYS,
    LINE_KEYS,
    READERS,
    SEEN_KEY,
    is_seen,
    npz_facts,
    read_clip_array,
    read_seen,
)
from skelssl.data.custom.poses import Pose, clips_of, is_poses, ready
from skelssl.data.poses.read import SUFFIXES, name_of
from skelssl.data.report import Report
from skelssl.data.source import FACTS, BadInput
from skelssl.skeleton.layout import Layout

CLIP_SUFFIXES = (*READERS, *(suffix for suffix in SUFFIXES if suffix not in READERS))
_NW_UCLA = re.compile("(?P<label>a[0-9]+)_s(?P<subject>[0-9]+)_e(?P<replication>[0-9]+)_v(?P<camera>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Inside:
    """The facts that a file contains about one of its clips."""

    said: Mapping[str, Any]  # keys of an index
    size: int  # bytes
    part: str = ""  # suffix of the name, in a file of several clips
    poses: bool = False  # whether a pose tool wrote it
    lists: tuple[str, ...] = ()  # lists of the file that contain the clip
    layout: str | None = None  # of poses


@dataclass(frozen=True, slots=True)
class CustomClip:
    """The description of one clip, with the label as given."""

    where: str  # the file, or the line of the index, that names the clip
    path: Path
    name: str
    label: int | str
    facts: Mapping[str, int]
    split: str | None  # train | test, if the index contains it
    own: Inside


def find_clips(root: Path, layout: str, report: Report) -> Iterator[CustomClip]:
    """Yield the clips below a folder, in a file of poses or in a ``.jsonl`` index; report those that are left out.

    Raises:
        UserError: for a root that is none of these, a malformed line, an unknown key, or a fact that is not an integer
    """
    left_out, others = set[str](), Counter[str]()
    for where, path, place, line in _described(root, report):
        try:
            for own in inside(path):
                said = {**place, **own.said, **line}
                left_out |= said.keys() - set(INDEX_KEYS)
                yield _found(where, path, said, own, layout)
                others.update([own.layout] if own.layout and own.layout != layout else [])
        except BadInput as bad:
            report.skip(str(line.get("name", place["name"])), bad.code, f"{bad.reason}, {where}")
    if left_out:
        report.notes.append(f"{root}: {', '.join(sorted(left_out))} left out, since nothing reads it")
    report.notes += [f"{root}: {count} clips of {own} are mapped to {layout}" for own, count in sorted(others.items())]


Described = tuple[str, Path, dict[str, Any], dict[str, Any]]  # where, file, facts from its path, facts from its line


def _described(root: Path, report: Report) -> Iterator[Described]:
    if root.is_dir():
        return _in_folder(root, report)
    if root.suffix.lower() in SUFFIXES:
        return iter([(str(root), root, {"name": root.stem}, {})])
    return _in_index(root)


def _in_folder(root: Path, report: Report) -> Iterator[Described]:
    others = 0
    for folder, folders, files in os.walk(root, followlinks=True):
        folders.sort()
        clip = Path(folder)
        if frames := is_poses(clip):
            yield _placed(clip, root)
        for path in (clip / file for file in sorted(files) if not file.startswith(".")):
            if frames and path.suffix == ".json":
                continue
            if _known(path):
                yield _placed(path, root)
            else:
                others += 1
    if others:
        report.notes.append(f"{root}: {others} files left out that are none of {', '.join(CLIP_SUFFIXES)}")


def _known(path: Path) -> bool:
    return path.suffix in READERS or path.suffix.lower() in SUFFIXES


def _placed(path: Path, root: Path) -> Described:
    inner = path.relative_to(root) if path != root else Path(path.name)
    label = inner.parts[0] if len(inner.parts) > 1 else None
    return str(path), path, {"name": name_of(inner, path), "label": label}, {}


def _in_index(index: Path) -> Iterator[Described]:
    if index.suffix != ".jsonl":
        raise UserError(
            f"raw={index}: found a file that is no index, expected a folder of clips, a file of poses or INDEX.jsonl"
        )
    try:
        lines = index.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"raw={index}: cannot be read ({error}), expected UTF-8 text") from error
    for number, text in enumerate(lines, 1):
        if text.strip():
            where = f"{index} line {number}"
            line = _line(text, where)
            file = Path(line["file"])
            path = index.parent / file
            if not _known(path) and not path.is_dir():
                raise UserError(f"{where}: found file {file}, expected one of {', '.join(CLIP_SUFFIXES)}")
            name = name_of(Path(file.name) if file.is_absolute() else file, path)
            yield where, path, {"name": name}, line


def _line(text: str, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: found malformed JSON ({error}), expected one object a line") from error
    if not isinstance(line, dict) or not isinstance(line.get("file"), str):
        raise UserError(f'{where}: found {text.strip()[:60]}, expected an object with the path of a clip under "file"')
    if unknown := next((key for key in line if key not in LINE_KEYS), None):
        raise UserError(f"{where}: unknown key {unknown!r}, expected some of {', '.join(LINE_KEYS)}")
    return {key: value for key, value in line.items() if value is not None}


def inside(path: Path) -> list[Inside]:
    """Return the facts that a file contains about each of its clips; raise BadInput.

    They come from the keys of an ``.npz``, the NW-UCLA name of a ``.json``, or the label and lists of annotated poses.
    """
    if not path.exists():
        raise BadInput("D26", f"found no file {path}")
    if is_poses(path):
        return [
            Inside(
                {} if clip.label is None else {"label": clip.label}, clip.x.nbytes, part, True, clip.splits, clip.layout
            )
            for part, clip in clips_of(path).items()
        ]
    if not path.is_file():
        raise BadInput("D26", f"found a folder without frames of OpenPose at {path}")
    if (size := path.stat().st_size) == 0:
        raise BadInput("D01", "empty file")
    if path.suffix == ".json":
        match = _NW_UCLA.fullmatch(path.stem)
        said = match.groupdict() | {k: int(v) for k, v in match.groupdict().items() if k in FACTS} if match else {}
        return [Inside(said, size)]
    if path.suffix != ".npz":
        return [Inside({}, size)]
    named = npz_facts(path)
    beside = {SEEN_KEY, "fps", "unit"} if SEEN_KEY in named else set()
    return [Inside({key: value for key, value in named.items() if key not in beside}, size, poses=bool(beside))]


def read_clip(path: Path, part: str, body: Layout, flat: bool) -> Pose:
    """Read one clip of a file as (T, M, V, 3), M = 1 or 2; ``flat``: x, y and confidence. Raises BadInput."""
    if is_poses(path):
        return ready(clips_of(path)[part], body, flat)
    if is_seen(path):
        return ready(read_seen(path, body), body, flat)
    return Pose(read_clip_array(path, body, flat=flat), ())


def _found(where: str, path: Path, said: Mapping[str, Any], own: Inside, layout: str) -> CustomClip:
    if said.get("layout", layout) != layout:
        raise UserError(
            f"{where}: found layout {said['layout']!r}, expected {layout} as for the whole dataset, "
            "or its name in dataset.layout"
        )
    if said.get("split") not in (None, "train", "test"):
        raise UserError(f"{where}: found split {said['split']!r}, expected train or test")
    label = said.get("label")
    if _says_nothing(label):
        raise BadInput("D35", "no label, neither in the index nor in the file nor as its folder")
    facts = {key: _whole(said[key], key, where) for key in FACTS if said.get(key) is not None}
    label = label.strip() if isinstance(label, str) else _whole(label, "label", where)
    name = f"{said['name']}{own.part}"
    return CustomClip(where, path, name, label, facts, said.get("split"), own)


def _says_nothing(label: Any) -> bool:
    """Return whether a label is absent, blank or NaN: as a number, as words such as ``NaN NaN``, or in a list."""
    if isinstance(label, str):
        return set(label.lower().split()) <= {"nan"}
    if isinstance(label, list):
        return all(map(_says_nothing, label))
    return label is None or label != label


def _whole(value: Any, key: str, where: str) -> int:
    if type(value) in (int, float) and float(value).is_integer() and value >= 0:
        return int(value)
    raise UserError(f"{where}: found {key} {value!r}, expected a whole number of at least 0")
