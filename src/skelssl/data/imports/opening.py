"""Open preprocessed files of other code as a source of clips (``prepare import=PATH``).

| on disk | made by | recipe |
|---|---|---|
| ``NTU60_XSub.npz`` and similar | CTR-GCN, MAMP, HA-CM | ``ctrgcn`` |
| ``{train,val}_data.npy`` | ST-GCN | ``aimclr``: raw bodies by position, no ids |
| ``{train,val}_position.npy`` | AimCLR, PSTL | ``aimclr`` |
| ``{train,val}_data_joint.npy`` with ``_num_frame.npy`` | 2s-AGCN, skeleton-contrast, CMD | ``agcn`` |
| ``ntu60_3danno.pkl`` and similar | pyskl, mmaction2 | ``pyskl`` |
| ``S...A....skeleton.npy`` | NTU RGB+D's ``txt2npy.py`` | ``aimclr``, ``agcn`` |

Each is recognised by its content. Its arrays were made by one recipe, so they are valid only for that recipe.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skelssl.core.errors import Refused, UserError
from skelssl.core.files import locked
from skelssl.data.imports.annotations import find_annotations
from skelssl.data.imports.arrays import find_arrays, holds_arrays
from skelssl.data.imports.listed import DESCRIPTION, SUFFIX, ListedNTU
from skelssl.data.imports.names import attach_names, check_dataset, check_sides, own_split
from skelssl.data.imports.npz import find_npz
from skelssl.data.imports.rows import ImportContent
from skelssl.data.imports.source import Imported
from skelssl.data.ntu.source import NTU
from skelssl.data.report import Report
from skelssl.data.source import Source

_IMPORTABLE = "an .npz of CTR-GCN, a folder of ST-GCN, AimCLR or 2s-AGCN arrays, a pyskl .pkl, or .skeleton.npy files"


@contextmanager
def imported(
    paths: Sequence[Path], base: Source, folder: Path, *, split: str | None = None, names: Path | None = None
) -> Iterator[Source]:
    """Yield the clips of ``paths`` as a source, and print a description of them.

    Args:
        paths: a file or folder in one of the formats above, or folders of ``.skeleton.npy`` files
        base: the source of the original dataset
        folder: receives the store and the report, and meanwhile the unpacked arrays
        split: of the file, if its name does not contain it
        names: a list of sample names

    Raises:
        UserError: for a file of another format or dataset; for a fault with a code of the bad-input catalogue a report
            is written too
    """
    scratch = folder / ".import"
    with locked(folder / ".import.lock", wait=False):
        try:
            with _readable(paths, scratch):
                source = _open(paths, base, scratch, split, names)
            yield source
        except Refused as error:
            report = Report(base.dataset)
            report.skip(error.path.name, error.code, error.reason)
            report.write_rejected(folder)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _readable(paths: Sequence[Path], scratch: Path) -> Iterator[None]:
    """Convert OSError: Refused (D33) for a file of the import, UserError for one that is unpacked to ``scratch``."""
    try:
        yield
    except OSError as error:
        file, reason = error.filename, error.strerror or error
        if file is None or Path(file).is_relative_to(scratch):
            raise UserError(
                f"{scratch.parent}: cannot unpack {paths[0]} there ({reason}), expected a data_root with room (D33)"
            ) from error
        raise Refused(file, "D33", f"cannot be read ({reason}), expected one with read permission") from error


def _open(paths: Sequence[Path], base: Source, scratch: Path, split: str | None, names: Path | None) -> Source:
    if base.generated:
        raise UserError(f"dataset: found {base.dataset}, which is generated, expected the dataset of the import")
    for path in paths:
        if not path.exists():
            raise UserError(f"import={path}: found nothing there, expected {_IMPORTABLE}")
    if any(path.name.endswith(SUFFIX) or (path.is_dir() and next(path.rglob(f"*{SUFFIX}"), None)) for path in paths):
        if not isinstance(base, NTU):
            raise UserError(f"import={paths[0]}: found {SUFFIX} files, which only NTU RGB+D has, not {base.dataset}")
        if file := next((path for path in paths if path.is_file()), None):
            raise UserError(f"import={file}: found a single file, expected the folder of the {SUFFIX} files")
        print(DESCRIPTION)
        return ListedNTU(base.dataset, skip_incomplete=base.skip_incomplete, missing=base.missing)
    if len(paths) != 1:
        raise UserError(f"import: found {len(paths)} paths, expected one (several only of {SUFFIX} files)")
    path = _single(paths[0])
    check_dataset(path, base)
    found = _find(path, base, scratch)
    split = own_split(found, base, split)
    _check_classes(found, base)
    naming = attach_names(found, base, split, names)
    source = Imported(base, found, split=split, naming=naming)
    if source.named and isinstance(base, NTU):
        check_sides(found, base, split)
    print(source.about)
    return source


def _single(path: Path) -> Path:
    """Return the file of a folder that holds a single npz or pickle, otherwise the path."""
    if not path.is_dir() or any(file.suffix == ".npy" for file in path.iterdir()):
        return path
    files = _archives(path)
    if len(files) == 1:
        return files[0]
    folders = [] if files else [str(inner.relative_to(path)) for inner in _folders(path)]
    if folders:
        raise UserError(
            f"import={path}: found such files only in its subfolders {', '.join(folders)}, expected one of these, "
            f"such as import={path / folders[0]}"
        )
    found = ", ".join(file.name for file in files) or "none of those"
    raise UserError(f"import={path}: found {found}, expected one of {_IMPORTABLE}")


def _archives(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.npz"), *folder.glob("*.pkl")])


def _folders(path: Path) -> list[Path]:
    """Return the importable folders below ``path``, up to two levels deep."""
    below = sorted([*path.glob("*/"), *path.glob("*/*/")])
    return [inner for inner in below if holds_arrays(inner) or (len(_archives(inner)) == 1 and _single(inner) != inner)]


def _find(path: Path, base: Source, scratch: Path) -> ImportContent:
    if path.is_dir() or _starts(path, b"\x93NUMPY"):
        return find_arrays(path, base)
    if zipfile.is_zipfile(path) or _starts(path, b"PK"):
        return find_npz(path, base, scratch)
    if path.suffix in (".pkl", ".pickle"):
        return find_annotations(path, base, scratch)
    raise UserError(f"import={path}: found a file of no known kind, expected {_IMPORTABLE}")


def _starts(path: Path, magic: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def _check_classes(found: ImportContent, base: Source) -> None:
    classes = len(base.class_names)
    for part in found.parts:
        if len(part.labels) and not 0 <= part.labels.min() <= part.labels.max() < classes:
            wrong = part.labels[(part.labels < 0) | (part.labels >= classes)][0]
            raise Refused(
                found.path, "D21", f"found label {wrong}, expected 0 to {classes - 1} for the classes of {base.dataset}"
            )
