"""Provide NTU RGB+D 60 and 120 from ``SsssCcccPpppRrrrAaaa.skeleton`` files in folders or in the official zips.

Shahroudy et al., NTU RGB+D, CVPR 2016; Liu et al., NTU RGB+D 120, TPAMI 2020.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.errors import UserError
from skelssl.data.clip import RAW, RawClip
from skelssl.data.ntu.text import read_skeleton
from skelssl.data.report import Report
from skelssl.data.roots import one_per_name, read_bytes, scan
from skelssl.data.source import AS_RECORDED, FACTS, BadInput, Entry
from skelssl.data.split import ClipTable, Split

_NAME = re.compile("S([0-9]{3})C([0-9]{3})P([0-9]{3})R([0-9]{3})A([0-9]{3})")
_CAMERAS = 3
_REPLICATIONS = 2


@lru_cache
def ntu_facts() -> dict[str, Any]:
    """Load the class names, the mutual (two-person) classes, and each benchmark's splits and counts."""
    facts: dict[str, Any] = json.loads((files("skelssl.data.ntu") / "facts.json").read_text("utf-8"))
    return facts


def parse_name(name: str) -> dict[str, int]:
    """Parse a file's stem into setup, camera, subject, replication and action, all 1-based; raise BadInput D21."""
    match = _NAME.fullmatch(name)
    if not match:
        raise BadInput("D21", "not a name of the form S001C001P001R001A001")
    return dict(zip(("setup", "camera", "subject", "replication", "action"), map(int, match.groups()), strict=True))


def parse_skeleton(data: bytes, name: str, *, salvage: bool = False) -> RawClip:
    """Parse the bytes of one ``.skeleton`` file; raise BadInput with D01, D02, D04, D21 or D23.

    ``salvage`` retains the complete frames of a truncated file instead of raising D02.
    """
    facts = parse_name(name)
    label = facts.pop("action") - 1
    text = read_skeleton(data, salvage=salvage)
    return RawClip(name, label, text.bodies, text.body_id, text.track, text.frame_ptr, facts, text.codes)


class NTU:
    """The source of ``ntu60`` or ``ntu120``: joints in m, layout ``ntu25``.

    Args:
        dataset: ``ntu60`` or ``ntu120``
        skip_incomplete: whether to leave out the recordings that the authors list as incomplete; False suits other
            datasets in this format, which may use those names for valid recordings
        missing: file with another list of incomplete recordings, such as that of the authors; default: the built-in
            list
        salvage: whether to retain the complete frames of truncated files (D02), which are left out otherwise

    Raises:
        UserError: for an unknown dataset, or options that contradict each other
    """

    layout = "ntu25"
    form = RAW
    arguments = AS_RECORDED
    generated = False

    def __init__(
        self,
        dataset: str = "ntu60",
        *,
        skip_incomplete: bool = True,
        missing: str | None = None,
        salvage: bool = False,
    ) -> None:
        known = ntu_facts()["benchmarks"]
        if dataset not in known:
            raise UserError(f"dataset: found {dataset!r}, expected one of {', '.join(known)}")
        for key, value in (("skip_incomplete", skip_incomplete), ("salvage", salvage)):
            if not isinstance(value, bool):
                raise UserError(f"dataset.source.{key}: found {value!r}, expected true or false")
        if missing is not None and not skip_incomplete:
            raise UserError(f"dataset.source.missing: found {missing}, expected none beside skip_incomplete=false")
        self.dataset, self.skip_incomplete, self.missing, self.salvage = dataset, skip_incomplete, missing, salvage

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of this benchmark."""
        facts: Mapping[str, Any] = ntu_facts()["benchmarks"][self.dataset]
        return facts

    @property
    def class_names(self) -> list[str]:
        """Return the names of the classes, in the order of the labels."""
        return list(ntu_facts()["class_names"][: self.facts["classes"]])

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.facts["splits"])

    @cached_property
    def incomplete(self) -> frozenset[str]:
        """Load the names to leave out; raise UserError for an unreadable list, or one without names of this dataset."""
        if not self.skip_incomplete:
            return frozenset()
        if self.missing is None:
            return frozenset(self.facts["missing"])
        try:
            text = Path(self.missing).expanduser().read_bytes().decode("utf-8", "replace")
        except OSError as error:
            raise UserError(f"dataset.source.missing={self.missing}: cannot be read ({error.strerror})") from error
        names = frozenset(m[0] for m in _NAME.finditer(text) if not self._wrong(parse_name(m[0])))
        if not names:
            raise UserError(
                f"dataset.source.missing={self.missing}: found no name of {self.dataset}, expected a list of names "
                "such as S001C001P001R001A001"
            )
        return names

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Return the files of this benchmark; raise UserError for an invalid root and for conflicting copies."""
        return one_per_name(self.admitted(scan(roots, ".skeleton"), report), report)

    def admitted(self, entries: Iterable[Entry], report: Report) -> list[Entry]:
        """Return the entries of this benchmark; report others and recordings listed as incomplete (D20, D21)."""
        missing = self.incomplete
        if self.skip_incomplete and self.missing is None:
            report.notes.append(f"using built-in list of {len(missing)} incomplete recordings (D19)")
        kept, listed = [], set()
        for entry in entries:
            if entry.name in missing:
                listed.add(entry.name)
                report.skip(entry.name, "D20", "on the list of incomplete recordings", tolerated=True)
            elif self._accepts(entry, report):
                kept.append(entry)
        report.counts |= {"incomplete_skipped": len(listed), "incomplete_absent": len(missing - listed)}
        return kept

    def _accepts(self, entry: Entry, report: Report) -> bool:
        try:
            found = parse_name(entry.name)
        except BadInput as bad:
            report.skip(entry.name, bad.code, f"{bad.reason}: {entry}")
            return False
        if wrong := self._wrong(found):
            report.skip(entry.name, "D21", ", ".join(wrong), tolerated=self._of_larger_set(found))
        elif not 1 <= found["replication"] <= _REPLICATIONS:
            report.warn("D21", entry.name)
        return not wrong

    def _wrong(self, found: Mapping[str, int]) -> list[str]:
        """Describe the numbers of a name that lie outside the benchmark."""
        limits = {"setup": self.facts["setups"], "camera": _CAMERAS, "subject": self.facts["subjects"]}
        limits["action"] = self.facts["classes"]
        return [f"{key} {found[key]} is not in 1–{top}" for key, top in limits.items() if not 1 <= found[key] <= top]

    def _of_larger_set(self, found: Mapping[str, int]) -> bool:
        """Return whether the file belongs to NTU-120 but not to NTU-60: a merged folder is a valid root."""
        largest = ntu_facts()["benchmarks"]["ntu120"]
        return bool(
            self.facts["classes"] < found["action"] <= largest["classes"] and found["setup"] <= largest["setups"]
        )

    def read(self, entry: Entry) -> list[RawClip]:
        """Return the one clip of a file; raise BadInput."""
        return [parse_skeleton(read_bytes(entry), entry.name, salvage=self.salvage)]

    def split(self, name: str, clips: ClipTable) -> Split:
        """Split X-Sub by subject, X-View by camera and X-Set by setup; raise UserError for another name."""
        if name not in self.splits:
            raise UserError(f"split of {self.dataset}: found {name!r}, expected one of {', '.join(self.splits)}")
        rule = self.facts["splits"][name]
        train = np.isin(clips.facts[rule["fact"]], rule["train"])
        names = np.asarray(clips.names, dtype=object)
        return Split(tuple(names[train]), tuple(names[~train]))

    def facts_of(self, name: str) -> dict[str, int]:
        """Return subject, camera, setup and replication from the name; raise BadInput D21."""
        found = parse_name(name)
        return {fact: found[fact] for fact in FACTS}

    def expected(self) -> dict[str, Any]:
        """Return the counts of the complete dataset: all files except the incomplete ones."""
        facts, names = self.facts, sorted(self.incomplete)
        columns = {fact: np.array([self.facts_of(name)[fact] for name in names], np.int64) for fact in FACTS}
        left_out = ClipTable(names, np.zeros(len(names), np.int64), columns)
        sides = {name: self.split(name, left_out) for name in self.splits}
        counts = {name: (rule["files"][0] - len(sides[name].train), rule["files"][1] - len(sides[name].test))
                  for name, rule in facts["splits"].items()}  # fmt: skip
        return {"clips": facts["files"] - len(names), "splits": counts,
                "setup": range(1, facts["setups"] + 1), "label": range(facts["classes"])}  # fmt: skip
