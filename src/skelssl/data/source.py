"""What every dataset offers to ``prepare``: names, raw clips, splits and the counts that should come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from skelssl.core.errors import UserError
from skelssl.data.clip import RawClip
from skelssl.data.report import Report
from skelssl.data.split import ClipTable, Split

AS_RECORDED: Mapping[str, Any] = MappingProxyType({})  # the ``arguments`` of every source of recordings in space
FACTS = ("subject", "camera", "setup", "replication")


class BadInput(Exception):
    """A raw file that cannot be used: a code of the bad-input catalogue (D01, ...) and the reason in words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part of a raw file that gives no clip, such as one line of a label file; the rest of the file is sound."""

    name: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One raw file, on disk or in a zip. Two entries with equal name, size and stamp hold the same bytes."""

    name: str
    location: str  # file on disk; the zip itself for a member
    member: str | None = None
    size: int = 0  # bytes
    stamp: int = 0  # modification time in ns, or the CRC of a zip's member

    def __str__(self) -> str:
        return f"{self.location}:{self.member}" if self.member else self.location


class Source(Protocol):
    """A dataset in its raw form. Sources are plain picklable objects: worker processes call ``read``."""

    @property
    def dataset(self) -> str:
        """Name of the store, such as ``ntu60``."""

    @property
    def layout(self) -> str:
        """Name of the body layout (``skelssl.skeleton.layout.load_layout``)."""

    @property
    def generated(self) -> bool:
        """True for a source that makes its own clips and takes no raw files."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, in the order of the labels."""

    @property
    def splits(self) -> Sequence[str]:
        """Names that ``split`` knows."""

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Return the files to read, sorted by name, each name once; all others are noted in the report."""

    @property
    def form(self) -> str:
        """What the bodies of its clips are: ``clip.RAW``, ``PERSONS``, ``PKU`` or a recipe's name."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """With which arguments the recipe named by ``form`` was run, and ``coordinates: xyc`` for 2-D clips.

        Empty for clips as they were recorded in space.
        """

    def read(self, entry: Entry) -> Sequence[RawClip | Skipped]:
        """Return the clips of one file, as the file has them, and its parts that give none; raise BadInput."""

    def split(self, name: str, clips: ClipTable) -> Split:
        """Raise UserError, naming the known splits, for one that is not known."""

    def expected(self) -> Mapping[str, Any]:
        """``clips``: their number in a complete set; ``label`` or a fact: the values that must occur. May be empty.

        ``clips`` may be a ``report.Span`` where sources disagree.
        """


def coordinates_of(source: Source, config: Mapping[str, Any]) -> str:
    """Return ``xyz``, or ``xyc`` for clips in the plane of an image with confidence.

    ``config`` is the block ``dataset``; raises UserError where it says something else than the source.
    """
    own: str = source.arguments.get("coordinates", "xyz")
    if (found := config.get("coordinates", "xyz")) != own:
        raise UserError(f"dataset.coordinates: found {found}, expected {own}, which {source.dataset} consists of")
    return own


def all_splits(source: Source, clips: ClipTable) -> dict[str, Split]:
    """Return every split of a source over these clips."""
    return {name: source.split(name, clips) for name in source.splits}
