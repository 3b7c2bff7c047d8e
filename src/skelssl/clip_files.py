"""Files of clips, whatever wrote them: what pose tools write, and plain arrays in ``.npy`` or ``.npz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from skelssl.data.custom_clips import READERS
from skelssl.data.source import BadInput
from skelssl.errors import UserError

ARRAYS = (".npy", ".npz")


class Named(NamedTuple):
    """A clip and what it is called."""

    name: str
    clip: Any  # array (T, V, C) or (T, M, V, C), or Poses


def read_clips(path: str | Path, format: str | None = None) -> list[Named]:
    """All clips of a file, or below a folder, sorted by name.

    ``.npy`` and ``.npz`` hold an array (of several the one called ``x``), everything else is for
    ``skelssl.poses.read_poses``, which ``format`` goes to. A name is the path of the file within the folder, without
    its suffix. Raises UserError where there is none, and for a file that cannot be read.
    """
    from skelssl.poses import read_poses
    from skelssl.poses.read import find

    root = Path(path).expanduser()
    if root.suffix in ARRAYS and root.is_file():
        return [Named(root.stem, read_array(root))]
    files = sorted(p for p in root.rglob("*") if p.suffix in ARRAYS and p.is_file()) if root.is_dir() else []
    found = [Named(file.relative_to(root).with_suffix("").as_posix(), read_array(file)) for file in files]
    if not files or any(find(root)):
        found += [Named(poses.name, poses) for poses in read_poses(root, format)]
    return sorted(found, key=lambda named: named.name)


def read_array(path: Path) -> Any:
    """The array of a ``.npy`` or ``.npz`` file; raises UserError for a damaged one. No pickles are opened."""
    try:
        return READERS[path.suffix](path)
    except BadInput as bad:
        raise UserError(f"{path}: {bad.reason} ({bad.code})") from bad
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}), expected an array") from error
