"""F7: pyskl's and mmaction2's pickles of 3-D annotations, float16 (M, T, V, 3) per clip, with the splits as lists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl import skeleton
from skelssl.data.clip import RawClip
from skelssl.data.files import atomic_file, check_space
from skelssl.data.imports.rows import TEXT, Block, Found, Part, Row
from skelssl.data.imports.unpickle import load
from skelssl.data.source import BadInput, Source
from skelssl.errors import UserError

_MAX_PERSONS = 2


def find_annotations(path: Path, source: Source, scratch: Path) -> Found:
    """Reads the pickle once; its arrays go to a file in ``scratch`` one by one, so memory holds one of them."""
    store = scratch / "keypoints"
    scratch.mkdir(parents=True, exist_ok=True)
    check_space(scratch, path.stat().st_size, "for the arrays in the pickle")
    with atomic_file(store) as file:

        def keep(array: NDArray[Any]) -> Any:
            if array.dtype.kind != "f":
                return array
            start = file.tell()
            file.write(np.ascontiguousarray(array).tobytes())
            return Block(str(store), start, array.dtype.str, array.shape)

        content = load(path, keep=keep)
    if not isinstance(content, Mapping) or not {"split", "annotations"} <= set(content):
        found = f"the keys {', '.join(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f"{path}: found a pickle with {found}, expected one with split and annotations")
    annotations = content["annotations"]
    joints = len(skeleton.layout(source.layout).joints)
    blocks = [_block(note, path, joints) for note in annotations]
    labels = np.array([note["label"] for note in annotations], np.int64)
    names = [note["frame_dir"] for note in annotations]
    return Found(
        path=path,
        what="pyskl/mmaction2 annotations",
        form="pyskl",
        decode=_clip,
        parts=[Part("", blocks, labels, names)],
        files=[path],
        text_size=lambda block: math.prod(block.shape[:2]) * TEXT,
        lists={key: list(values) for key, values in content["split"].items()},
    )


def _block(note: Any, path: Path, joints: int) -> Block:
    """The place of one annotation's keypoints; raises UserError for any but 3-D bodies of at most two persons."""
    if not isinstance(note, Mapping) or not {"frame_dir", "label", "keypoint"} <= set(note):
        raise UserError(f"{path}: found an annotation without frame_dir, label or keypoint, expected all three")
    block, name = note["keypoint"], note["frame_dir"]
    shape = block.shape if isinstance(block, Block) else ()
    if "keypoint_score" in note or shape[2:] in {(17, 2), (17, 3), (joints, 2)}:
        raise UserError(
            f"{path}: found 2-D poses ({shape[2] if len(shape) > 2 else '?'} joints with scores, as of HRNet), "
            f"expected 3-D skeletons of {joints} joints, such as ntu60_3danno.pkl"
        )
    if len(shape) != 4 or shape[0] > _MAX_PERSONS or shape[2:] != (joints, 3) or block.dtype[1] != "f":
        raise UserError(
            f"{path}: found keypoints of shape {shape} in {name}, expected (persons, frames, {joints}, 3) "
            f"for at most {_MAX_PERSONS} persons"
        )
    if not isinstance(name, str) or not isinstance(note["label"], int):
        raise UserError(f"{path}: found {name!r} of class {note['label']!r}, expected a name and a whole number")
    if note.get("total_frames", shape[1]) != shape[1]:
        raise UserError(f"{path}: found {shape[1]} frames in {name}, expected its total_frames {note['total_frames']}")
    return block  # type: ignore[no-any-return]


def _clip(row: Row) -> RawClip:
    if 0 in row.block.shape:
        raise BadInput("D04", "nobody in it")
    x = row.block.read().swapaxes(0, 1).astype(np.float32)
    x = np.pad(x, ((0, 0), (0, _MAX_PERSONS - x.shape[1]), (0, 0), (0, 0)))
    return RawClip.of_persons(row.name, row.label, x, facts=row.facts, form="pyskl")
