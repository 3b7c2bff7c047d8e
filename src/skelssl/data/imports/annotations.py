"""Import F7: pickles of pyskl and mmaction2 with 3-D annotations, float16 (M, T, V, 3) per clip, and split lists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused, UserError
from skelssl.core.files import atomic_file, check_space
from skelssl.core.unpickle import load
from skelssl.data.clip import RawClip
from skelssl.data.imports.rows import BYTES_PER_BODY, ArrayBlock, ImportContent, ImportPart, ImportRow
from skelssl.data.source import BadInput, Skipped, Source
from skelssl.skeleton.layout import load_layout

_MAX_PERSONS = 2
_LISTS = (list, tuple, np.ndarray)
_ENDING = ".skeleton"  # which some scripts leave on the names


def find_annotations(path: Path, source: Source, scratch: Path) -> ImportContent:
    """Check each annotation, leave out and report invalid ones; raise Refused if none is valid."""
    notes, split = _content(path, scratch)
    part, skipped = _sorted_out(notes, len(load_layout(source.layout).joints))
    if skipped and not part.blocks:
        name, code, reason = skipped[0].name, skipped[0].code, skipped[0].reason
        raise Refused(path, code, f"found no usable annotation among {len(notes):,}, in the first, {name}: {reason}")
    absent = {name for names in split.values() for name in names} - {_name(note) for note in notes}
    return ImportContent(
        path=path,
        what="pyskl/mmaction2 annotations",
        form="pyskl",
        decode=_clip,
        parts=[part],
        files=[path],
        text_size=lambda block: math.prod(block.shape[:2]) * BYTES_PER_BODY,
        lists=split,
        skipped=skipped,
        notes=[
            f"{path.name}: {len(absent):,} names of its lists have no annotation, {name} first"
            for name in sorted(absent)[:1]
        ],
    )


def _sorted_out(notes: Sequence[Any], joints: int) -> tuple[ImportPart, list[Skipped]]:
    """Return the clips of valid annotations, and the reasons for the skipped ones."""
    found, skipped = list[tuple[str, ArrayBlock, int]](), list[Skipped]()
    for row, note in enumerate(notes):
        try:
            found.append(_checked(note, joints))
        except BadInput as bad:
            skipped.append(Skipped(_name(note) or f"annotation in row {row}", bad.code, bad.reason))
    labels = np.array([label for _, _, label in found], np.int64)
    return ImportPart("", [block for _, block, _ in found], labels, [name for name, _, _ in found]), skipped


def _content(path: Path, scratch: Path) -> tuple[list[Any], dict[str, list[str]]]:
    """Read annotations and lists of the pickle; arrays are written to a file one by one, so memory holds only one."""
    store = scratch / "keypoints"
    scratch.mkdir(parents=True, exist_ok=True)
    check_space(scratch, path.stat().st_size, "for the arrays in the pickle")
    with atomic_file(store) as file:

        def keep(array: NDArray[Any]) -> Any:
            if array.dtype.kind != "f":
                return array
            start = file.tell()
            file.write(np.ascontiguousarray(array).tobytes())
            return ArrayBlock(str(store), start, array.dtype.str, array.shape)

        content = load(path, keep=keep)
    if not isinstance(content, Mapping) or not {"split", "annotations"} <= set(content):
        found = f"the keys {', '.join(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f"{path}: found a pickle with {found}, expected one with split and annotations")
    notes, split = content["annotations"], content["split"]
    if not isinstance(notes, _LISTS) or not isinstance(split, Mapping):
        found = f"{type(notes).__name__} and {type(split).__name__}"
        raise UserError(f"{path}: found {found} as annotations and split, expected a list and a dict of lists")
    if wrong := [f"{key} {type(names).__name__}" for key, names in split.items() if not isinstance(names, _LISTS)]:
        raise UserError(f"{path}: found the split {wrong[0]}, expected lists of names")
    return list(notes), {str(key): [str(name).removesuffix(_ENDING) for name in names] for key, names in split.items()}


def _name(note: Any) -> str | None:
    name = note.get("frame_dir") if isinstance(note, Mapping) else None
    return name.removesuffix(_ENDING) if isinstance(name, str) else None


def _checked(note: Any, joints: int) -> tuple[str, ArrayBlock, int]:
    """Return name, keypoint block and label; raise BadInput unless it is a named 3-D clip of 1 or 2 persons."""
    if not (name := _name(note)) or "keypoint" not in note:
        raise BadInput("D24", "found no frame_dir of text, or no keypoint, expected both")
    block, label = note["keypoint"], note.get("label")
    shape: tuple[int, ...] = getattr(block, "shape", ())
    if "keypoint_score" in note or shape[2:] in {(17, 2), (17, 3), (joints, 2)}:
        raise BadInput(
            "D24",
            f"found 2-D poses ({shape[2] if len(shape) > 2 else '?'} joints with scores, as of HRNet), "
            f"expected 3-D skeletons of {joints} joints, such as ntu60_3danno.pkl",
        )
    wanted = f"expected floats (persons, frames, {joints}, 3) for at most {_MAX_PERSONS} persons"
    if not isinstance(block, ArrayBlock):
        raise BadInput("D24", f"found a keypoint of {getattr(block, 'dtype', type(block).__name__)}, {wanted}")
    if len(shape) != 4 or shape[0] > _MAX_PERSONS or shape[2:] != (joints, 3):
        raise BadInput("D24", f"found keypoints of shape {shape}, {wanted}")
    if not isinstance(label, int):
        raise BadInput("D35", f"found label {label!r}, expected a whole number")
    if note.get("total_frames", shape[1]) != shape[1]:
        raise BadInput("D02", f"found {shape[1]} frames, expected its total_frames {note['total_frames']}")
    return name, block, label


def _clip(row: ImportRow) -> RawClip:
    if 0 in row.block.shape:
        raise BadInput("D04", "no person in it")
    x = row.block.read().swapaxes(0, 1).astype(np.float32)
    x = np.pad(x, ((0, 0), (0, _MAX_PERSONS - x.shape[1]), (0, 0), (0, 0)))
    return RawClip.of_persons(row.name, row.label, x, facts=row.facts, form="pyskl")
