"""Read files of clips: the files of pose tools, and plain arrays in ``.npy`` or ``.npz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError
from skelssl.data.custom.arrays import READERS
from skelssl.data.poses import read_poses
from skelssl.data.poses.read import find_pose_files
from skelssl.data.source import BadInput

ARRAY_SUFFIXES = (".npy", ".npz")


def read_clips(path: str | Path, format: str | None = None) -> dict[str, Any]:
    """Read the clips of a file, or of all files below a folder.

    Args:
        path: ``.npy`` and ``.npz`` hold an array (of several, the one called ``x``); other files are read by
            ``skelssl.data.poses.read_poses``
        format: of pose files, for ``read_poses``

    Returns:
        name -> clip, sorted by name. A clip is an array or a `Poses`; its name is the path of the file within the
        folder, without suffix.

    Raises:
        UserError: if there is no clip, two have the same name, or a file cannot be read
    """
    root = Path(path).expanduser()
    if root.suffix.lower() in ARRAY_SUFFIXES and root.is_file():
        return {root.stem: read_plain_array(root)}
    files = list(find_pose_files(root, ARRAY_SUFFIXES, folders=False)) if root.is_dir() else []
    found = [(file.relative_to(root).with_suffix("").as_posix(), read_plain_array(file)) for file in files]
    if not files or any(find_pose_files(root)):
        found += [(poses.name, poses) for poses in read_poses(root, format)]
    clips = dict(sorted(found, key=lambda pair: pair[0]))
    if len(clips) < len(found):
        twice = next(name for i, (name, _) in enumerate(found) if name in dict(found[:i]))
        raise UserError(f"{root}: found two clips called {twice}, expected names that differ without their suffix")
    return clips


def read_plain_array(path: Path) -> Any:
    """Read the array of a ``.npy`` or ``.npz`` file; raise UserError for a damaged one. Pickles are never loaded."""
    try:
        return READERS[path.suffix.lower()](path)
    except BadInput as bad:
        raise UserError(f"{path}: {bad.reason} ({bad.code})") from bad
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}), expected an array") from error
