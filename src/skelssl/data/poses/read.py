"""Read any file or folder of a pose tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from skelssl.core.errors import Refused, UserError
from skelssl.data.poses.alphapose import read_alphapose, sniff_alphapose
from skelssl.data.poses.bvh import read_bvh, sniff_bvh
from skelssl.data.poses.coco import read_coco, sniff_coco
from skelssl.data.poses.keypoints import load_json
from skelssl.data.poses.mediapipe import read_mediapipe, sniff_mediapipe
from skelssl.data.poses.openpose import is_folder_of_frames, read_openpose_folder, read_openpose_frames, sniff_openpose
from skelssl.data.poses.poses import Poses
from skelssl.data.poses.pyskl import read_pyskl

FORMATS = ("coco", "mediapipe", "openpose", "alphapose", "pyskl", "bvh")
SUFFIXES = (".json", ".bvh", ".pkl", ".pickle")  # files to read in a folder; the content decides the format
_HEAD = 64  # bytes
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
# Errors on reading a file that has the form of a tool but not its structure:
_STRUCTURE_ERRORS = (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError)

Read = Callable[[Any, Path, str], list[Poses]]
# Narrow before wide: AlphaPose's list is a list of COCO's results too.
_JSON: dict[str, tuple[Callable[[Any], bool], Read]] = {
    "alphapose": (sniff_alphapose, read_alphapose),
    "coco": (sniff_coco, read_coco),
    "mediapipe": (sniff_mediapipe, read_mediapipe),
    "openpose": (sniff_openpose, lambda content, path, name: [read_openpose_frames({0: content}, path, name)]),
}


def read_poses(path: Path | str, format: str | None = None) -> list[Poses]:
    """Read the clips of a file, of a folder of OpenPose frames, or of all such files and folders below a folder.

    Args:
        path: a file or folder; its content decides which tool wrote it
        format: one of ``FORMATS``; if given, files of another format are an error

    Returns:
        the clips, sorted by path. A clip has the name of its file or folder, or its path below ``path``, without
        suffix; for several clips in a file, a slash and the name of the clip are appended.

    Raises:
        UserError: if nothing is found, and for the first file that is damaged or of an unknown format
    """
    path = Path(path).expanduser()
    if format is not None and format not in FORMATS:
        raise UserError(f"format: found {format!r}, expected one of {', '.join(FORMATS)}")
    if not path.exists():
        raise UserError(f"{path}: found nothing there, expected a file or folder of {', '.join(FORMATS)}")
    places = list(find_pose_files(path))
    if not places:
        raise UserError(f"{path}: found no file of {', '.join(SUFFIXES)}, expected some of {', '.join(FORMATS)}")
    clips = []
    for place in places:
        inner = place.relative_to(path)
        clips += read_place(place, name_of(inner if inner.parts else Path(place.name), place), format)
    return clips


def find_pose_files(root: Path, suffixes: Sequence[str] = SUFFIXES, *, folders: bool = True) -> Iterator[Path]:
    """Yield files with these suffixes, and ``folders`` of frames, at or below a path, sorted, without hidden ones."""
    if root.is_file() or (folders and is_folder_of_frames(root)):
        yield root
        return
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from find_pose_files(path, suffixes, folders=folders)
        elif path.suffix.lower() in suffixes:
            yield path


def name_of(inner: Path, place: Path) -> str:
    """Return the name of a clip by its path: a file without its suffix, a folder unchanged."""
    return (inner if place.is_dir() else inner.with_suffix("")).as_posix()


def read_place(place: Path, name: str, format: str | None = None) -> list[Poses]:
    """Read the clips of one file or one folder of frames; raise Refused, a UserError with a code."""
    kind, read = _kind(place)
    if format not in (None, kind):
        raise Refused(place, "D24", f"found a file of {kind}, expected {format}")
    try:
        return read(name)
    except UserError:
        raise
    except _STRUCTURE_ERRORS as error:
        found = f"{type(error).__name__}: {error}"
        raise Refused(
            place, "D24", f"found a structure that no {kind} has ({found}), expected that of {kind}"
        ) from error


def _kind(place: Path) -> tuple[str, Callable[[str], list[Poses]]]:
    """Return the format of a file or folder, and its reader."""
    if place.is_dir():
        return "openpose", lambda name: read_openpose_folder(place, name)
    try:
        with open(place, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise Refused(place, "D33", f"cannot be read ({error.strerror or error}), expected a file") from error
    if not head.strip():
        raise Refused(place, "D01", "found an empty file, expected poses")
    if sniff_bvh(head):
        return "bvh", lambda name: read_bvh(place, name)
    if head.startswith(_PICKLES) or place.suffix.lower() in (".pkl", ".pickle"):
        return "pyskl", lambda name: read_pyskl(place, name)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        content = load_json(place)
        for kind, (knows, read) in _JSON.items():
            if knows(content):
                return kind, lambda name, read=read: read(content, place, name)
    raise Refused(place, "D24", f"found a file of no known kind, expected one of {', '.join(FORMATS)}")
