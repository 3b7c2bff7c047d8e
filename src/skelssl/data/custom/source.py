"""Provide a custom dataset: a folder of clips, or a JSON-lines index of them, and a rule for the test split."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.data.clip import PERSONS, RawClip
from skelssl.data.custom.clips import CustomClip, find_clips, read_clip
from skelssl.data.custom.poses import stamp
from skelssl.data.report import Report
from skelssl.data.roots import one_per_name
from skelssl.data.source import AS_RECORDED, Entry
from skelssl.data.split import ClipTable, Split
from skelssl.skeleton.layout import layouts, load_layout

RULE_FACTS = ("subject", "camera", "setup")
COORDINATES = ("xyz", "xyc")  # 3-D, or 2-D in the image plane with confidence
DEFAULT_RULE = {"share": 0.2, "seed": 0}
_RESERVED_NAMES = ("ntu60", "ntu120", "pku1", "pku2", "synthetic")
_TRAINING_LIST = re.compile(r"train[0-9]*$")  # the end of a training list's name in pyskl and mmaction2
_RULE = "dataset.source.test"


@dataclass(frozen=True, slots=True)
class ClipEntry(Entry):
    """One file with the label and facts of its clip."""

    label: int = -1
    facts: Mapping[str, int] = field(default_factory=dict)


class Custom:
    """A custom dataset: clips of at most two separated persons each, in any layout.

    Clips are arrays (T, V, 3) or (T, M, V, 3) in m, y up, all zero where a person is absent, in ``.npy``, in ``.npz``
    under ``x`` or alone, or in NW-UCLA's ``.json``; and files of pose tools (``skelssl.data.poses``). With
    ``coordinates`` xyc they are in the image plane, y up, in any unit, and the optional third number is the confidence
    of a joint (`custom.arrays.in_plane`). Classes are the sorted names among the labels, or 0 to the largest number.

    Args:
        dataset: name of the store
        layout: name or file of the skeleton layout
        coordinates: ``xyz`` or ``xyc``
        test: the rule for the test split: ``{subject: [...]}``, ``{camera: [...]}``, ``{setup: [...]}``,
            ``{names: FILE}`` with one clip name per line, ``{list: NAME}`` for a list inside annotated poses, or
            ``{share: 0.2, seed: 0}`` for a random fraction of the subjects, or of each class if not every clip has a
            subject or all have the same. By default the field ``split`` of the index decides, else the only two lists
            in annotated poses, else a random fraction of 0.2.

    Raises:
        UserError: for an invalid name, layout, coordinates or rule
    """

    form = PERSONS
    generated = False
    splits = ("custom",)

    def __init__(
        self,
        dataset: str = "custom",
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        test: Mapping[str, Any] | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", dataset) or dataset in _RESERVED_NAMES:
            raise UserError(
                f"dataset.name: found {dataset!r}, expected a name of letters, digits, '_', '.' and '-' "
                f"other than {', '.join(_RESERVED_NAMES)}"
            )
        if coordinates not in COORDINATES:
            raise UserError(f"dataset.coordinates: found {coordinates!r}, expected one of {', '.join(COORDINATES)}")
        self.dataset, self.test, self.body = dataset, _checked(test), load_layout(layout)
        self.flat = coordinates == "xyc"
        # The store outlives the working folder.
        self.layout = layout if layout in layouts() else str(Path(layout).expanduser().absolute())
        self.class_names: list[str] = []  # known once ``entries`` has read the labels
        self._named: frozenset[str] | None = None  # the test clips, if a list names them

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Return ``coordinates: xyc`` for 2-D clips, else an empty mapping."""
        return {"coordinates": "xyc"} if self.flat else AS_RECORDED

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Return the clips below the roots; raise UserError if labels, names or the test rule are inconsistent."""
        found = [clip for root in roots for clip in find_clips(root, self.body.name, report)]
        if not found and report.skipped:
            raise UserError(f"raw={', '.join(map(str, roots))}: found no clip to use; {report.complaint()}")
        self.class_names = _class_names(found, report)
        self._named = self._names_to_test(found, report)
        seen: dict[str, CustomClip] = {}
        for clip in found:
            first = seen.setdefault(clip.name, clip)
            if (first.label, first.facts, first.split) != (clip.label, clip.facts, clip.split):
                raise UserError(
                    f"{clip.where}: found another clip called {clip.name} (D18), first in {first.where}, "
                    "expected unique names"
                )
            if first is not clip and (clip.own.poses or first.own.poses):
                raise UserError(
                    f"{clip.where}: found {clip.name}, which is also in {first.where} (D18), expected unique names"
                )
        return one_per_name([self._entry(clip) for clip in found], report)

    def _entry(self, clip: CustomClip) -> ClipEntry:
        label = clip.label if isinstance(clip.label, int) else self.class_names.index(clip.label)
        said = [stamp(clip.path), label, self.class_names, sorted(clip.facts.items())]
        key = int.from_bytes(hashlib.sha256(json.dumps(said).encode()).digest()[:8])
        return ClipEntry(clip.name, str(clip.path), clip.own.part or None, clip.own.size, key, label, clip.facts)

    def _names_to_test(self, found: Sequence[CustomClip], report: Report) -> frozenset[str] | None:
        told = [clip for clip in found if clip.split]
        if told and self.test:
            raise UserError(f"{_RULE}: found {self.test}, expected null, since the index contains split")
        if told and (untold := next((clip for clip in found if not clip.split), None)):
            raise UserError(f"{untold.where}: found no split, expected one on every line or on none")
        if told:
            return frozenset(clip.name for clip in told if clip.split == "test")
        if "list" in self.test or (not self.test and any(clip.own.lists for clip in found)):
            return _of_lists(found, self.test.get("list"))
        if "names" in self.test:
            known = {clip.name for clip in found} | {skip.name for skip in report.skipped}
            named = _listed(self.test["names"])
            if unknown := sorted(named - known):
                raise UserError(f"{_RULE}.names: found {unknown[0]}, expected names of clips such as {min(known)}")
            return named
        if not self.test:
            report.notes.append(f"{_RULE}: not given, so {DEFAULT_RULE} decides the test split")
        return None

    def read(self, entry: Entry) -> list[RawClip]:
        """Return the one clip of a file; raise BadInput."""
        assert isinstance(entry, ClipEntry)
        clip = read_clip(Path(entry.location), entry.member or "", self.body, self.flat)
        return [RawClip.of_persons(entry.name, entry.label, clip.x, facts=entry.facts, codes=clip.codes)]

    def split(self, name: str, clips: ClipTable) -> Split:
        """Return the one split, ``custom``, by the rule; raise UserError if a side is empty or a fact is unknown."""
        if name not in self.splits:
            raise UserError(f"split of {self.dataset}: found {name!r}, expected one of {', '.join(self.splits)}")
        if not len(clips.names):
            return Split((), ())
        test, names = self._tests(clips), np.asarray(clips.names, dtype=object)
        if test.all() or not test.any():
            side = "training" if test.all() else "test"
            raise UserError(f"{_RULE}: found no {side} clip among {len(names)}, expected both sides to have some")
        return Split(tuple(names[~test]), tuple(names[test]))

    def _tests(self, clips: ClipTable) -> NDArray[np.bool_]:
        """Return whether each clip is in the test split, (N,)."""
        if self._named is not None:
            return np.array([name in self._named for name in clips.names])
        if fact := next((key for key in RULE_FACTS if key in self.test), None):
            return _by_fact(clips, fact, self.test[fact])
        return _by_share(clips, **{**DEFAULT_RULE, **self.test})

    def expected(self) -> dict[str, Any]:
        return {}


def _checked(test: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the rule for the test split; raise UserError for an unknown rule, or for two at once."""
    rule = dict(test or {})
    kinds = (*RULE_FACTS, "names", "list", "share")
    values = [value for key, value in rule.items() if key in RULE_FACTS]
    sound = all(isinstance(v, list) and v and all(type(i) is int for i in v) for v in values)
    share, seed = rule.get("share", 0.5), rule.get("seed", 0)
    sound &= isinstance(share, float) and 0 < share < 1 and type(seed) is int and seed >= 0
    sound &= all(isinstance(rule.get(key, ""), str) for key in ("names", "list")) and (
        "seed" not in rule or "share" in rule
    )
    if rule and (sum(key in kinds for key in rule) != 1 or rule.keys() - {*kinds, "seed"} or not sound):
        raise UserError(
            f"{_RULE}: found {rule}, expected one of {{subject: [2,4]}}, {{camera: [1]}}, {{setup: [1]}}, "
            "{names: FILE}, {list: NAME} and {share: 0.2, seed: 0}"
        )
    return rule


def _class_names(found: Sequence[CustomClip], report: Report) -> list[str]:
    """Return the sorted names, or all numbers from 0 to the largest; report numbers without clips."""
    numbers = sorted({clip.label for clip in found if isinstance(clip.label, int)})
    names = sorted({clip.label for clip in found if isinstance(clip.label, str)})
    if numbers and names:
        raise UserError(f"label: found both numbers ({numbers[0]}) and names ({names[0]}), expected one kind")
    count = numbers[-1] + 1 if numbers else 0
    if absent := sorted(set(range(count)) - set(numbers)):
        report.notes.append(f"no clip of class {', '.join(map(str, absent))}: {count} classes all the same")
    return names or [str(label) for label in range(count)]


def _of_lists(found: Sequence[CustomClip], wanted: str | None) -> frozenset[str]:
    """Return the names of the clips in a list of their files, by default in the only one of two that is not ``train``.

    Raises UserError for a list that no file has, and if the default is ambiguous.
    """
    lists = sorted({name for clip in found for name in clip.own.lists})
    testing = [name for name in lists if not _TRAINING_LIST.search(name)]
    if wanted is None and len(lists) == 2 and len(testing) == 1:
        wanted = testing[0]
    if wanted not in lists:
        raise UserError(
            f"{_RULE}: found {wanted or 'no choice'} and {', '.join(lists) or 'no lists'} in the files, expected "
            f"one of these to test on, such as {{list: {(testing or lists or ['val'])[0]}}}"
        )
    if untold := next((clip for clip in found if not clip.own.lists), None):
        raise UserError(f"{untold.where}: found {untold.name} in none of {', '.join(lists)}, expected each clip in one")
    return frozenset(clip.name for clip in found if wanted in clip.own.lists)


def _listed(file: str) -> frozenset[str]:
    try:
        lines = Path(file).expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{_RULE}.names: {file} cannot be read ({error}), expected a clip's name a line") from error
    return frozenset(line.strip() for line in lines if line.strip())


def _by_fact(clips: ClipTable, fact: str, wanted: Sequence[int]) -> NDArray[np.bool_]:
    have = clips.facts[fact]
    if (have < 0).any():
        raise UserError(f"{_RULE}: found no {fact} of {clips.names[int((have < 0).argmax())]}, expected one per clip")
    if absent := sorted(set(wanted) - set(have.tolist())):
        raise UserError(f"{_RULE}: found no clip of {fact} {absent[0]}, expected some of {np.unique(have).tolist()}")
    return np.isin(have, wanted)


def _by_share(clips: ClipTable, share: float, seed: int) -> NDArray[np.bool_]:
    """Draw a fraction of the subjects if all clips have one and there are several, else of the clips of each class."""
    dice, subject = np.random.default_rng(seed), clips.facts["subject"]
    if (subject >= 0).all() and len(np.unique(subject)) > 1:
        return np.isin(subject, _drawn(np.unique(subject), share, dice))
    rows = [np.flatnonzero(clips.labels == label) for label in np.unique(clips.labels)]
    return np.isin(np.arange(len(subject)), np.concatenate([_drawn(own, share, dice) for own in rows]))


def _drawn(units: NDArray[np.int64], share: float, dice: np.random.Generator) -> NDArray[np.int64]:
    """Draw a fraction of the units: at least one of two or more, and never all."""
    count = min(max(1, round(share * len(units))), len(units) - 1)
    return dice.permutation(units)[:count]
