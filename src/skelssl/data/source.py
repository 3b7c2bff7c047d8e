"""Define what every dataset provides to ``prepare``: entries, raw clips, splits and expected counts."""

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
    """Error for a raw file that cannot be used, with a code of the bad-input catalogue (D01, ...) and the reason."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part of a raw file without a usable clip, such as one line of a label file; the rest of the file is valid."""

    name: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One raw file, on disk or in a zip. Two entries with equal name, size and stamp hold the same bytes."""

    name: str
    location: str  # file on disk; the zip for a member
    member: str | None = None
    size: int = 0  # bytes
    stamp: int = 0  # modification time in ns, or the CRC of a zip's member

    def __str__(self) -> str:
        return f"{self.location}:{self.member}" if self.member else self.location


class Source(Protocol):
    """A dataset in its raw form.

    ``prepare`` calls ``entries`` once and ``read`` for every entry, then ``split`` and ``expected``. Sources are
    picklable, since worker processes call ``read``.
    """

    @property
    def dataset(self) -> str:
        """Return the name of the store, such as ``ntu60``."""

    @property
    def layout(self) -> str:
        """Return the name of the skeleton layout (``skelssl.skeleton.layout.load_layout``)."""

    @property
    def generated(self) -> bool:
        """Return whether the source generates its clips and takes no raw files."""

    @property
    def class_names(self) -> Sequence[str]:
        """Return the names of the classes, in the order of the labels."""

    @property
    def splits(self) -> Sequence[str]:
        """Return the names that ``split`` accepts."""

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Find the files to read.

        Args:
            roots: folders or archives of raw files
            report: receives the files that are left out, and notes

        Returns:
            the files, sorted by name, each name once

        Raises:
            UserError: for a root without usable files
        """

    @property
    def form(self) -> str:
        """Return the form of the clips' bodies: ``clip.RAW``, ``PERSONS``, ``PKU`` or the name of a recipe."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Return the arguments of the recipe named by ``form``, and ``coordinates: xyc`` for 2-D clips.

        The mapping is empty for 3-D clips as recorded.
        """

    def read(self, entry: Entry) -> Sequence[RawClip | Skipped]:
        """Read one file.

        Returns:
            its clips in file order, bodies (R, V, 3) in m, and a `Skipped` for every part without a usable clip

        Raises:
            BadInput: for a file that cannot be used
        """

    def split(self, name: str, clips: ClipTable) -> Split:
        """Divide clips into training and test split.

        Args:
            name: one of ``splits``
            clips: names, labels and facts of N clips

        Returns:
            the names of the training and of the test clips

        Raises:
            UserError: for an unknown name, listing the known ones
        """

    def expected(self) -> Mapping[str, Any]:
        """Return the counts of the complete dataset; may be empty.

        ``clips`` is the number of clips, or a ``report.Span`` if publications disagree; ``splits`` maps a split to the
        numbers of training and test clips; ``label`` and facts map to the values that must occur.
        """


def coordinates_of(source: Source, config: Mapping[str, Any]) -> str:
    """Return ``xyz``, or ``xyc`` for clips in the image plane with confidence.

    ``config`` is the block ``dataset``; raises UserError if its coordinates differ from those of the source.
    """
    own: str = source.arguments.get("coordinates", "xyz")
    if (found := config.get("coordinates", "xyz")) != own:
        raise UserError(f"dataset.coordinates: found {found}, expected {own}, the coordinates of {source.dataset}")
    return own


def all_splits(source: Source, clips: ClipTable) -> dict[str, Split]:
    """Return every split of a source over these clips."""
    return {name: source.split(name, clips) for name in source.splits}
