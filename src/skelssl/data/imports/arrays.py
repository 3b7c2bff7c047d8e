"""Import F4, F5, F6: one ``.npy`` (N, 3, T, V, M) per part with labels beside it, as introduced by ST-GCN.

``{part}_data.npy`` holds the tracker's list (ST-GCN), ``{part}_position.npy`` AimCLR's 50 frames, and
``{part}_data_joint.npy`` with ``{part}_num_frame.npy`` the clips of 2s-AGCN and skeleton-contrast, repeated up to 300.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from skelssl.core.errors import Refused, UserError
from skelssl.data.clip import LISTED_TWO, RawClip
from skelssl.data.imports.labels import read_labels
from skelssl.data.imports.rows import (
    BYTES_PER_BODY,
    ArrayBlock,
    ImportContent,
    ImportPart,
    ImportRow,
    npy_block,
    persons_first,
)
from skelssl.data.recipes.aimclr import FRAMES
from skelssl.data.source import Source
from skelssl.skeleton.layout import Layout, load_layout

MAX_FRAMES = 300
SIDES = {"train": "train", "val": "test", "test": "test"}
_FILE = re.compile(r"(train|val|test)_(data_joint|data|position)\.npy")
_SAMPLE = 20  # rows from which the form is recognised
_TYPICAL = 150  # bodies over all frames of an NTU clip, on average and rounded up
_ROW_DIMS = 4
_FOLDER = re.compile(r"((ntu|pku)\w*[-_])?[a-z]+", re.IGNORECASE)  # xsub or ntu60_xsub, but no longer title
_DESCRIPTIONS = {  # its description, and the order of its clips if they have no names
    LISTED_TWO: ("ST-GCN arrays (data.npy, two places of the tracker's list)", "name"),
    "aimclr": (f"AimCLR arrays (position.npy, {FRAMES} frames)", "name"),
    "agcn": ("2s-AGCN/skeleton-contrast arrays (data_joint.npy, num_frame.npy)", None),  # as a folder happened to list
}


def find_arrays(path: Path, source: Source) -> ImportContent:
    """Find both parts in a folder, or beside the file of one part; raise UserError or Refused for invalid ones."""
    folder = path.parent if path.is_file() else path
    kind, files = _files(path, folder)
    layout = load_layout(source.layout)
    blocks = {side: npy_block(file) for side, file in files.items()}
    forms = {_form(blocks[side], files[side], layout) for side in blocks}
    if len(forms) > 1:
        raise UserError(f"{folder}: found {' and '.join(sorted(forms))} in its two parts, expected one form")
    form = forms.pop()
    beside = [file for side in files.values() for file in _beside(side, kind, form)]
    parts = [_part(side, blocks[side], files[side], kind, form) for side in files]
    what, order = _DESCRIPTIONS[form]
    bodies = 2 * FRAMES if form == "aimclr" else _TYPICAL
    return ImportContent(
        path=folder,
        what=what,
        form=form,
        decode=partial(_clip, form=form),
        parts=parts,
        files=[*files.values(), *beside],
        text_size=lambda _: bodies * BYTES_PER_BODY,
        hints=[folder.name] if _FOLDER.fullmatch(folder.name) else [],
        order=order,
    )


def _files(path: Path, folder: Path) -> tuple[str, dict[str, Path]]:
    """Return the kind (data, position, data_joint) and its file per side."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        if match := _FILE.fullmatch(file.name):
            sides = found.setdefault(match[2], {})
            if SIDES[match[1]] in sides:
                raise UserError(f"{folder}: found val and test arrays of one kind, expected one of them")
            sides[SIDES[match[1]]] = file
    if path.is_file():
        match = _FILE.fullmatch(path.name)
        found = {match[2]: found[match[2]]} if match else {}
    if len(found) != 1:
        kinds = ", ".join(f"*_{kind}.npy" for kind in found) or "no array of a known name"
        raise UserError(
            f"{path}: found {kinds}, expected train and val of one of *_data.npy, *_position.npy, *_data_joint.npy; "
            "name the file where a folder holds several"
        )
    kind, files = found.popitem()
    if set(files) != {"train", "test"}:
        raise UserError(f"{folder}: found only {next(iter(files.values())).name}, expected the other part beside it")
    return kind, dict(sorted(files.items(), reverse=True))


def holds_arrays(folder: Path) -> bool:
    """Return whether a folder holds both parts of one kind."""
    try:
        _files(folder, folder)
    except UserError:
        return False
    return True


def _form(block: ArrayBlock, path: Path, layout: Layout) -> str:
    """Return which of the three forms it is, by shape and content; raise UserError for none of them."""
    shape, joints = block.shape, len(layout.joints)
    frames = shape[2] if len(shape) == 1 + _ROW_DIMS else 0
    if frames not in (FRAMES, MAX_FRAMES) or (shape[1], *shape[3:]) != (3, joints, 2) or block.dtype[1] != "f":
        raise UserError(
            f"{path}: found {shape} of {np.dtype(block.dtype)}, expected (N, 3, {FRAMES} or {MAX_FRAMES}, {joints}, 2) "
            "numbers"
        )
    rows = [np.nan_to_num(persons_first(row.read()), posinf=0, neginf=0) for row in block.rows()[:_SAMPLE]]
    at_origin = {v: not any(x[:, 0, v].any() for x in rows) for v in range(joints)}
    centred = {"aimclr": "spine_shoulder", "agcn": "spine_mid"}
    found = [form for form, joint in centred.items() if at_origin[layout.index(joint)]] or [LISTED_TWO]
    wanted = ["aimclr"] if frames == FRAMES else ["agcn", LISTED_TWO]
    if len(found) > 1 or found[0] not in wanted:
        raise UserError(
            f"{path}: found {frames} frames whose origin is that of {' or '.join(found)}, "
            f"expected {' or '.join(wanted)}"
        )
    return found[0]


def _beside(file: Path, kind: str, form: str) -> list[Path]:
    """Return the files that belong to one array: labels, and for ``agcn`` the frame counts."""
    stem = file.name.removesuffix(f"_{kind}.npy")
    labels = [file.with_name(f"{stem}_label{ending}") for ending in (".pkl", ".npy")]
    found = next((label for label in labels if label.exists()), None)
    if found is None:
        raise UserError(f"{file.with_name(stem + '_label.pkl')}: not found, expected the labels of {file.name} there")
    counts = file.with_name(f"{stem}_num_frame.npy")
    if form == "agcn" and not counts.exists():
        raise UserError(
            f"{counts}: not found, expected the frame counts of {file.name}, whose clips are repeated up to the end"
        )
    return [found, counts] if form == "agcn" else [found]


def _part(side: str, block: ArrayBlock, file: Path, kind: str, form: str) -> ImportPart:
    label_file, *counts = _beside(file, kind, form)
    labels, names = read_labels(label_file)
    frames = None
    if counts:
        frames = npy_block(counts[0]).read().reshape(-1)
        if frames.dtype.kind not in "iu":
            raise Refused(counts[0], "D30", f"found numbers of type {frames.dtype}, expected whole numbers of frames")
    return ImportPart(side, block.rows(), labels, names, frames)


def _clip(row: ImportRow, form: str) -> RawClip:
    x = persons_first(row.block.read())
    if form == LISTED_TWO:
        filled: Sequence[int] = np.flatnonzero(np.any(x != 0, axis=(1, 2, 3))).tolist()
        return RawClip.of_places(row.name, row.label, x[: filled[-1] + 1 if filled else 0], facts=row.facts, form=form)
    if row.frames is not None:
        x = x[: row.frames]
    return RawClip.of_persons(row.name, row.label, x, facts=row.facts, form=form)
