"""Provide PKU-MMD I and II: untrimmed recordings that label files divide into clips.

Liu et al., PKU-MMD, ACM MM workshop VSCC 2017. A recording ``0002-L.txt`` (part I) or ``A01N01-L.txt`` (part II) holds
150 numbers per frame, two persons by 25 joints; the label file of the same name has one action per line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.errors import UserError
from skelssl.data.clip import PKU as PKU_FORM
from skelssl.data.clip import RawClip
from skelssl.data.pku.files import PKUPart, find_pku_files, pku_facts, read_lists
from skelssl.data.pku.text import LabelLine, PKURecording, lines
from skelssl.data.report import Report, Span
from skelssl.data.roots import one_per_name, read_bytes
from skelssl.data.source import AS_RECORDED, BadInput, Entry, Skipped
from skelssl.data.split import ClipTable, Split


class PKU:
    """The source of ``pku1`` or ``pku2``: joints in m, layout ``ntu25``.

    A clip is called ``<recording>_<line>``, such as ``A10N08-L_007``, after its 1-based line in the label file. It
    holds the frames [start - 1, end) of that line; a recipe with ``pku_interval: after_start`` drops the first. Cameras
    L, M and R are 1, 2 and 3; ``setup`` is the number of the video (part I) or of the action list A (part II);
    ``subject`` is N (part II only).

    Splits come from the authors' lists if they are among the raw files, else from the built-in ones. ``entries``
    stores the labels and lists that it reads, so it must be called before ``read``.

    Args:
        dataset: ``pku1`` or ``pku2``

    Raises:
        UserError: for an unknown dataset
    """

    layout = "ntu25"
    form = PKU_FORM
    arguments = AS_RECORDED
    generated = False

    def __init__(self, dataset: str = "pku1") -> None:
        known = pku_facts()["benchmarks"]
        if dataset not in known:
            raise UserError(f"dataset: found {dataset!r}, expected one of {', '.join(known)}")
        self.dataset, self.part = dataset, PKUPart(dataset)
        self._labels: dict[str, bytes] = {}  # recording -> label file
        self._tests: dict[str, list[str]] = {}  # split -> test recordings, if the authors' list was found

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of this part."""
        return self.part.facts

    @property
    def class_names(self) -> list[str]:
        """Return the names of the 51 classes, in the order of the labels; part II has clips of 41 of them."""
        return list(pku_facts()["class_names"])

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.facts["splits"])

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Return the recordings that have a label file, stamped with both files.

        Raises:
            UserError: for an invalid root, if no recording is found, for files of the other part alone, and for invalid
                split lists
        """
        found = find_pku_files(self.part, roots, report)
        recordings = one_per_name(found.recordings, report)
        labels = {entry.name: entry for entry in one_per_name(found.labels, report)}
        names = {entry.name for entry in recordings}
        self._tests = read_lists(self.part, found.lists, names, report)
        self._report_lonely(names, labels, report)
        self._labels = {name: read_bytes(labels[name]) for name in names & labels.keys()}
        report.counts["recordings"] = len(recordings)
        return [self._stamped(entry) for entry in recordings if entry.name in labels]

    def _report_lonely(self, recordings: Collection[str], labels: Collection[str], report: Report) -> None:
        for name in sorted(set(recordings) - set(labels)):
            report.skip(name, "D26", "a recording without label file")
        for name in sorted(set(labels) - set(recordings)):
            report.skip(name, "D26", "a label file without recording", tolerated=name in self.facts["missing"])

    def _stamped(self, entry: Entry) -> Entry:
        digest = hashlib.sha256(b"%d:" % entry.stamp + self._labels[entry.name]).digest()
        return replace(entry, stamp=int.from_bytes(digest[:8]))

    def read(self, entry: Entry) -> list[RawClip | Skipped]:
        """Return a clip, or the reason for none, per line of the label file; raise BadInput for a damaged recording."""
        recording = PKURecording.of(read_bytes(entry))
        found = [self._clip(entry.name, recording, *line) for line in lines(self._labels[entry.name])]
        if not found:
            raise BadInput("D01", "empty label file")
        return found

    def _clip(self, recorded: str, recording: PKURecording, number: int, line: str) -> RawClip | Skipped:
        name = f"{recorded}_{number:03d}"
        try:
            action = LabelLine.of(line, recording.n_frames)
            x = recording.persons(action.first, action.stop)
        except BadInput as bad:
            return Skipped(name, bad.code, bad.reason)
        flags = {"D05": not x.any((1, 2, 3)).all(), "D25": action.mended}
        codes = tuple(code for code, yes in flags.items() if yes)
        facts = self.part.numbers(recorded)
        return RawClip.of_persons(name, action.label, x, facts=facts, codes=codes, form=PKU_FORM)

    def split(self, name: str, clips: ClipTable) -> Split:
        """Split by the authors' list if ``entries`` found it, else by number, subject or camera.

        Raises:
            UserError: for a name other than ``splits``
        """
        if name not in self.splits:
            raise UserError(f"split of {self.dataset}: found {name!r}, expected one of {', '.join(self.splits)}")
        if name in self._tests:
            test = np.isin([clip.rpartition("_")[0] for clip in clips.names], self._tests[name])
        else:
            rule = self.facts["splits"][name]
            test = np.isin(clips.facts[rule["fact"]], rule["test"])
        names = np.asarray(clips.names, dtype=object)
        return Split(tuple(names[~test]), tuple(names[test]))

    def expected(self) -> dict[str, Any]:
        """Return the counts of the complete dataset; ``clips`` is a Span for part II, on which the papers disagree."""
        low, high = self.facts["clips"]
        values = {key: range(first, last + 1) for key, (first, last) in self.facts["ranges"].items()}
        if self.dataset == "pku1":
            values["label"] = range(len(self.class_names))
            del values["setup"]  # 13 of the numbered recordings do not exist, and their numbers are not published
        return {"clips": low if low == high else Span(low, high), **values}
