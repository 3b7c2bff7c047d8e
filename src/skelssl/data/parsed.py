"""Write and read the parsed store: all bodies of a dataset in flat memory maps, before any recipe.

``bodies.npy`` (R, V, 3) float32 m, ``body_id.npy`` (R,) int64, ``track.npy`` (R, V) uint8, ``frame_ptr.npy`` (F + 1,)
first row of each frame, ``sample_ptr.npy`` (N + 1,) first frame of each clip. ``index.json`` has one column per fact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.files import NpyWriter, read_json, write_json
from skelssl.data.clip import RawClip
from skelssl.data.source import FACTS
from skelssl.data.split import ClipTable

FORMAT = 2
ROWS = {"bodies": "<f4", "body_id": "<i8", "track": "|u1"}  # arrays with one row per body-frame
POINTERS = ("frame_ptr", "sample_ptr")
_MAPPED_ROWS = 250_000  # body-frames, about 80 MB
_HINT = "delete the folder and run skelssl prepare again"
Arrays = Mapping[str, NDArray[Any]]


@dataclass(slots=True)
class ClipIndex:
    """The facts of N clips, one column each, and the files that contain no clip."""

    name: list[str] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    facts: dict[str, list[int]] = field(default_factory=lambda: {fact: [] for fact in FACTS})
    n_frames: list[int] = field(default_factory=list)
    max_bodies: list[int] = field(default_factory=list)
    codes: list[list[str]] = field(default_factory=list)
    repaired: list[int] = field(default_factory=list)  # joints interpolated or left out because of NaN (D12)
    sha1: list[str] = field(default_factory=list)  # of the clip's content: equal clips have equal digests
    skipped: list[list[str]] = field(default_factory=list)  # name, code, reason

    def add(self, clip: RawClip) -> None:
        self.name.append(clip.name)
        self.label.append(clip.label)
        for fact in FACTS:
            self.facts[fact].append(clip.facts.get(fact, -1))
        self.n_frames.append(clip.n_frames)
        self.max_bodies.append(int(np.diff(clip.frame_ptr).max(initial=0)))
        self.codes.append(list(clip.codes))
        self.repaired.append(clip.repaired)
        self.sha1.append(content_sha1(clip))

    def extend(self, other: ClipIndex) -> None:
        for fact in FACTS:
            self.facts[fact] += other.facts[fact]
        for key in ("name", "label", "n_frames", "max_bodies", "codes", "repaired", "sha1", "skipped"):
            getattr(self, key).extend(getattr(other, key))

    def table(self) -> ClipTable:
        facts = {fact: np.array(values, dtype=np.int64) for fact, values in self.facts.items()}
        return ClipTable(self.name, np.array(self.label, dtype=np.int64), facts)


def content_sha1(clip: RawClip) -> str:
    """Return a hash of a clip's arrays, regardless of its name and label."""
    digest = hashlib.sha1()
    for array in (clip.bodies, clip.body_id, clip.track, clip.frame_ptr):
        digest.update(f"{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def pack(clips: Sequence[RawClip]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a store that holds these clips in this order."""
    rows = np.cumsum([0, *(len(clip.bodies) for clip in clips)])
    frames = [clip.frame_ptr[1:] + start for clip, start in zip(clips, rows, strict=False)]
    packed = {key: np.concatenate([getattr(clip, key) for clip in clips]).astype(kind) for key, kind in ROWS.items()}
    packed["frame_ptr"] = np.concatenate([[0], *frames]).astype(np.int64)
    packed["sample_ptr"] = np.cumsum([0, *(clip.n_frames for clip in clips)])
    return packed


def write_store(folder: Path, parts: Iterable[Arrays], index: ClipIndex, meta: Mapping[str, Any]) -> None:
    """Concatenate parts (each from ``pack``) into the store ``folder``, with one part in memory at a time.

    The fingerprint is a hash of names, labels and array contents, and does not depend on the division into parts.
    """
    writers: dict[str, NpyWriter] = {}
    digests = {key: hashlib.sha256() for key in (*ROWS, *POINTERS)}
    end = dict.fromkeys(POINTERS, 0)
    for part in parts:
        for key, rows in part.items():
            if key in POINTERS:
                rows = rows + end[key]
                end[key] = int(rows[-1])
                rows = rows[1:] if key in writers else rows
            if key not in writers:
                writers[key] = NpyWriter(folder / f"{key}.npy", rows.dtype.str, rows.shape[1:])
            digests[key].update(writers[key].append(rows))
    for writer in writers.values():
        writer.close()
    total = fingerprint(index, {key: digest.digest() for key, digest in digests.items()})
    write_json(folder / "index.json", asdict(index))
    write_json(folder / "meta.json", {"format": FORMAT, "fingerprint": total, **meta})


def fingerprint(index: ClipIndex, digests: Mapping[str, bytes]) -> str:
    """Return the hash of a store: of names, labels and the SHA-256 of each array's content."""
    total = hashlib.sha256("\n".join([*index.name, *map(str, index.label)]).encode())
    for key in (*ROWS, *POINTERS):
        total.update(digests[key])
    return total.hexdigest()


class ParsedStore:
    """A parsed store, opened for reading.

    Args:
        folder: ``<data_root>/<dataset>/v1/parsed``

    Raises:
        UserError: if the store is missing, incomplete or of another format
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: found no parsed store, expected one made by: skelssl prepare")
        meta = read_json(self.folder / "meta.json")
        if meta.get("format") != FORMAT:
            raise UserError(f"{self.folder}: found a store of format {meta.get('format')}, expected {FORMAT}; {_HINT}")
        self.dataset: str = meta["dataset"]
        self.layout: str = meta["layout"]
        self.form: str = meta["form"]
        self.class_names: list[str] = meta["class_names"]
        self.arguments: dict[str, Any] = meta["arguments"]  # of an import's recipe; coordinates of 2-D clips
        self.coordinates: str = self.arguments.get("coordinates", "xyz")
        self.fingerprint: str = meta["fingerprint"]
        self.inputs: str = meta["inputs"]
        self.index = ClipIndex(**read_json(self.folder / "index.json"))
        table = self.index.table()
        self.names: list[str] = self.index.name
        self.labels: NDArray[np.int64] = table.labels
        self.facts: dict[str, NDArray[np.int64]] = dict(table.facts)
        self._open()
        self._check()

    def _open(self) -> None:
        self._arrays = {key: self._map(key) for key in (*ROWS, *POINTERS)}

    def _map(self, key: str) -> NDArray[Any]:
        path = self.folder / f"{key}.npy"
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            return array
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: found a missing or half-written array (D32, {error}); {_HINT}") from error

    def _check(self) -> None:
        clips, frames, rows = (len(self._arrays[key]) for key in ("sample_ptr", "frame_ptr", "bodies"))
        found = (clips - 1, int(self._arrays["sample_ptr"][-1]), int(self._arrays["frame_ptr"][-1]))
        if found != (len(self), frames - 1, rows) or any(len(self._arrays[key]) != rows for key in ROWS):
            raise UserError(f"{self.folder}: found arrays whose lengths disagree, expected a complete store; {_HINT}")

    def __len__(self) -> int:
        return len(self.names)

    def clips(self) -> Iterator[RawClip]:
        """Yield all clips in order, in bounded memory as long as the caller does not retain them.

        Pages of a memory map that were read count as memory of this process, so the maps are reopened regularly.
        """
        rows = 0
        for i in range(len(self)):
            clip = self.clip(i)
            rows += len(clip.bodies)
            yield clip
            if rows > _MAPPED_ROWS:
                self._open()
                rows = 0

    def clip(self, i: int) -> RawClip:
        """Return clip i; its arrays are read-only views of the memory maps."""
        first, last = self._arrays["sample_ptr"][i : i + 2]
        frame_ptr = self._arrays["frame_ptr"][first : last + 1]
        rows = slice(frame_ptr[0], frame_ptr[-1])
        bodies, body_id, track = (self._arrays[key][rows] for key in ROWS)
        facts = {fact: int(values[i]) for fact, values in self.facts.items() if values[i] >= 0}
        codes = tuple(self.index.codes[i])
        return RawClip(
            self.names[i],
            int(self.labels[i]),
            bodies,
            body_id,
            track,
            frame_ptr - frame_ptr[0],
            facts,
            codes,
            self.form,
        )
