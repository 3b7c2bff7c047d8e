"""A body whose joints and bones are coloured by a number: how often hidden, how much attended to, how far out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.html import script_figure
from skelssl.pages.figures.pose import pose_upright
from skelssl.skeleton.layout import Layout


@dataclass(frozen=True)
class JointValues:
    """One way to colour a body."""

    title: str
    joints: NDArray[np.floating]  # (V,), or (V, V): row v is shown when joint v is picked, the mean of the rows before
    bones: NDArray[np.floating] | None = None  # (B,) in the order of ``Layout.bones``, on the scale of the joints
    without: Collection[int] = ()  # joints without a number, drawn hollow
    percent: bool = False  # fractions, to be read in per cent
    picked: str = "from"  # what a row of a matrix is in words: "from" or "of" the picked joint


def body_map(looks: Sequence[JointValues], layout: Layout, pose: NDArray[np.floating]) -> str:
    """The looks on one body, with a switch between them; ``pose`` (V, 3) is upright or not, of any size.

    Beside it stands the list of joints, the largest number first. Colours span the smallest to the largest number of a
    look, whatever they are; the scale below says which.
    """
    posed = pose_upright(np.asarray(pose, dtype=np.float64)[None, None], np.ones((1, 1), bool), layout)[0, 0]
    data = {
        "xy": posed[:, :2].round(3).tolist(),
        "names": [name.replace("_", " ") for name in layout.joints],
        "bones": layout.bones,
        "looks": [_look(look) for look in looks],
    }
    return script_figure("body", data, "body coloured by " + ", ".join(look.title for look in looks))


def _look(look: JointValues) -> dict[str, object]:
    return {
        "title": look.title,
        "joints": _short(look.joints),
        "bones": None if look.bones is None else _short(look.bones),
        "without": sorted(int(v) for v in look.without),
        "percent": look.percent,
        "picked": look.picked,
    }


def _short(values: NDArray[np.floating]) -> list[object]:
    """Four digits are more than colours tell apart."""
    found: list[object] = np.array([float(f"{v:.4g}") for v in values.ravel()]).reshape(values.shape).tolist()
    return found
