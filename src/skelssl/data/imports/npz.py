"""Import F3: ``x_train y_train x_test y_test`` in one ``.npz``, (N, 300, 150), as saved by CTR-GCN, MAMP and HA-CM."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.errors import Refused, UserError
from skelssl.core.files import atomic_file, check_space
from skelssl.data.clip import RawClip
from skelssl.data.imports.labels import from_one_hot
from skelssl.data.imports.rows import BYTES_PER_BODY, ArrayBlock, ImportContent, ImportPart, ImportRow, npy_block
from skelssl.data.source import Source
from skelssl.skeleton.layout import load_layout

KEYS = ("x_train", "y_train", "x_test", "y_test")
PERSONS = 2
_LOCAL_HEADER = 30  # bytes of a zip member's local header before its name
_SAMPLE = 200  # rows of the training part from which the options are recognised
_TYPICAL = 150  # bodies over all frames of an NTU clip, on average and rounded up


def find_npz(path: Path, source: Source, scratch: Path) -> ImportContent:
    """Find the arrays in the file; compressed members are unpacked into ``scratch`` once."""
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            if not set(KEYS) <= set(keys):
                raise UserError(f"{path}: found the arrays {', '.join(sorted(keys))}, expected {', '.join(KEYS)}")
            blocks = {key: _member(archive, path, key, scratch) for key in KEYS}
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Refused(
            path, "D32", f"found a damaged npz ({error}), expected a complete one; delete it and download it again"
        ) from error
    layout = load_layout(source.layout)
    parts = [_part(path, side, blocks, len(source.class_names), len(layout.joints)) for side in ("train", "test")]
    return ImportContent(
        path=path,
        what="CTR-GCN/MAMP arrays (npz)",
        form="ctrgcn",
        decode=_clip,
        parts=parts,
        files=[path],
        text_size=lambda _: _TYPICAL * BYTES_PER_BODY,
        hints=[path.stem],
        order="ids",
        arguments=_arguments(parts[0], layout.index("spine_mid")),
    )


def _member(archive: zipfile.ZipFile, path: Path, key: str, scratch: Path) -> ArrayBlock:
    """Return one array inside the zip: in place if it is stored uncompressed, else from its unpacked copy."""
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file:
            file.seek(info.header_offset)
            head = file.read(_LOCAL_HEADER)
        start = info.header_offset + _LOCAL_HEADER + sum(int.from_bytes(head[i : i + 2], "little") for i in (26, 28))
        return npy_block(path, start, info.file_size)
    scratch.mkdir(parents=True, exist_ok=True)
    check_space(scratch, info.file_size, f"to unpack {key}")
    copy = scratch / f"{key}.npy"
    with archive.open(info) as packed, atomic_file(copy) as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    return npy_block(copy)


def _part(path: Path, side: str, blocks: dict[str, ArrayBlock], classes: int, joints: int) -> ImportPart:
    x, y = blocks[f"x_{side}"], blocks[f"y_{side}"]
    width = PERSONS * joints * 3
    if len(x.shape) != 3 or x.shape[2] != width or np.dtype(x.dtype).kind != "f":
        raise UserError(
            f"{path}: found x_{side} of shape {x.shape} and type {np.dtype(x.dtype)}, expected (N, frames, {width}) "
            f"numbers: {PERSONS} persons of {joints} joints"
        )
    if len(y.shape) > 0 and y.shape[0] != x.shape[0]:
        raise Refused(
            path, "D30", f"found {y.shape[0]:,} labels for the {x.shape[0]:,} clips of x_{side}, expected one each"
        )
    return ImportPart(side, x.rows(), from_one_hot(y.read(), classes, path, f"y_{side}"))


def _arguments(part: ImportPart, spine_mid: int) -> dict[str, Any]:
    """Recognise the recipe's options from the first rows: whether clips are centred, and single persons duplicated.

    Published NTU-120 files duplicate them, those of PKU-MMD are not centred, and custom files may differ. The majority
    decides: any file may hold a clip with two equal persons (D34), or one whose second person is empty.
    """
    rows = [clip for block in part.blocks[:_SAMPLE] if (clip := _persons(block)).any()]
    if not rows:
        return {}
    first = [x[np.any(x[:, 0] != 0, axis=(1, 2)).argmax(), 0, spine_mid] for x in rows]
    centred = not np.nan_to_num(first).any()
    single = sum(not x[:, 1].any() for x in rows)
    doubled = sum(np.array_equal(x[:, 0], x[:, 1]) for x in rows)
    if doubled > single and 2 * doubled > len(rows) - single:
        return {"center": centred, "single_person_fill": "copy"}
    return {"center": centred} | ({"single_person_fill": "zero"} if single else {})


def _persons(block: ArrayBlock) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the clip (T, M, V, 3) without the zeros after its last frame."""
    x = block.read()
    filled = np.flatnonzero(np.any(x != 0, axis=1))
    length = filled[-1] + 1 if len(filled) else 0
    return x[:length].reshape(length, PERSONS, -1, 3).astype(np.float32)


def _clip(row: ImportRow) -> RawClip:
    return RawClip.of_persons(row.name, row.label, _persons(row.block), facts=row.facts, form="ctrgcn")
