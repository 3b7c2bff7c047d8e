"""Provide the synthetic dataset as a source with the same names, stores and splits as the recorded ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final

from skelssl.core.errors import UserError
from skelssl.data.clip import RAW, RawClip
from skelssl.data.ntu.source import NTU, parse_name
from skelssl.data.report import Report
from skelssl.data.source import AS_RECORDED, Entry
from skelssl.data.split import ClipTable, Split
from skelssl.data.synthetic.actions import ACTIONS
from skelssl.data.synthetic.dice import Dice
from skelssl.data.synthetic.perform import perform_action
from skelssl.data.synthetic.tracker import ANGLES, camera_view, track

_VERSION: Final = 1  # of the motion; increased whenever any clip's bytes change
_SETUP, _TRACKER = 3, 4  # further random streams, beside those of a performance
_SETUPS = 17


class Synthetic:
    """Clips of procedural human motion, named as in NTU RGB+D and recomputed whenever they are read.

    A clip depends only on ``seed`` and its class, subject, replication and camera, so a larger dataset contains the
    smaller ones, and the bytes are the same on every machine. Class k of ``ACTIONS`` has the name A(k + 1). Subjects 1
    to 40 are divided into the halves of X-Sub as in NTU RGB+D; the three cameras record the same performance.

    Naive baselines of the default dataset in per cent (``skelssl.protocols.floor``; chance 4.2). Raw bodies: X-Sub
    1-NN 60.1 and ridge 56.9, X-View 98.8 and 97.9. After recipe ``aimclr``: X-Sub 54.5 and 53.1, X-View 98.8 and 96.3.
    X-View is easy because the training split contains the same performance from another view; X-Sub discriminates
    between encoders.

    Args:
        dataset: name of the store; other sizes and seeds are appended to it
        classes: number of classes, 2 to 24
        subjects: number of subjects, 3 to 40
        replications: number of performances per class and subject, 1 to 999
        seed: of all random numbers, 0 to 2^32 - 1

    Raises:
        UserError: for a number out of range
    """

    layout: Final = "ntu25"
    form: Final = RAW
    arguments = AS_RECORDED
    generated: Final = True
    splits: Final = ("xsub", "xview")

    def __init__(
        self, *, dataset: str = "synthetic", classes: int = 24, subjects: int = 10, replications: int = 1, seed: int = 0
    ) -> None:
        for key, value, low, high in (
            ("classes", classes, 2, len(ACTIONS)), ("subjects", subjects, 3, 40),  # 3 is the first of the test split
            ("replications", replications, 1, 999), ("seed", seed, 0, 2**32 - 1),
        ):  # fmt: skip
            if not low <= value <= high:
                raise UserError(f"dataset.source.{key}: found {value}, expected {low} to {high}")
        # Datasets of another size or seed have separate stores, so that two jobs never overwrite each other's.
        sizes = (classes, subjects, replications, seed)
        self.dataset = dataset if sizes == (24, 10, 1, 0) else "-".join([dataset, *map(str, sizes)])
        self.seed = seed
        self.class_names = [action.name for action in ACTIONS[:classes]]
        self._counts = classes, subjects, replications

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Return one entry per clip, sorted by name; ``roots`` is unused. The location identifies version and seed."""
        classes, subjects, replications = self._counts
        parts = product(range(classes), range(1, subjects + 1), ANGLES, range(1, replications + 1))
        return [Entry(name, f"synthetic v{_VERSION}, seed {self.seed}") for name in sorted(_name(*p) for p in parts)]

    def read(self, entry: Entry) -> list[RawClip]:
        """Return the one clip of an entry."""
        found = parse_name(entry.name)
        return [self.clip(found["action"] - 1, found["subject"], found["camera"], found["replication"])]

    def clip(self, label: int, subject: int, camera: int, replication: int = 1) -> RawClip:
        """Generate one clip; the result depends only on the arguments and ``seed``.

        Args:
            label: 0-based class
            subject: 1-based
            camera: 1, 2 or 3
            replication: 1-based

        Returns:
            the clip, bodies (R, 25, 3) in m
        """
        setup = _setup(subject)
        people = camera_view(
            perform_action(self.seed, label, subject, replication), Dice(self.seed, _SETUP, setup), camera
        )
        seen = track(people, Dice(self.seed, _TRACKER, label, subject, replication, camera))
        return RawClip(
            name=_name(label, subject, camera, replication),
            label=label,
            bodies=seen.bodies,
            body_id=seen.body_id,
            track=seen.track,
            frame_ptr=seen.frame_ptr,
            facts={"subject": subject, "camera": camera, "setup": setup, "replication": replication},
        )

    def split(self, name: str, clips: ClipTable) -> Split:
        """Split by the X-Sub or X-View rule of NTU RGB+D; raise UserError for another name."""
        if name not in self.splits:
            raise UserError(f"split of {self.dataset}: found {name!r}, expected one of {', '.join(self.splits)}")
        return NTU("ntu60").split(name, clips)

    def expected(self) -> dict[str, int]:
        """Return the number of clips of the complete dataset."""
        classes, subjects, replications = self._counts
        return {"clips": classes * subjects * len(ANGLES) * replications}


def _setup(subject: int) -> int:
    return 1 + (subject - 1) % _SETUPS


def _name(label: int, subject: int, camera: int, replication: int) -> str:
    return f"S{_setup(subject):03}C{camera:03}P{subject:03}R{replication:03}A{label + 1:03}"
