"""Draw a body whose joints and bones are coloured by a value, such as masking rate, attention or radius."""

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
    """Values of joints and bones, drawn as colours."""

    title: str
    joints: NDArray[np.floating]  # (V,), or (V, V): row v applies when joint v is selected, else the mean of the rows
    bones: NDArray[np.floating] | None = None  # (B,) in the order of ``Layout.bones``, on the scale of the joints
    without: Collection[int] = ()  # joints without a value, drawn hollow
    percent: bool = False  # fractions, displayed in per cent
    picked: str = "from"  # label of a row of a matrix: "from" or "gathered by" the selected joint


def body_map(maps: Sequence[JointValues], layout: Layout, pose: NDArray[np.floating]) -> str:
    """Draw the maps on one body, with buttons to switch between them.

    Beside it is the list of joints in descending order. Colours span the minimum to the maximum of a map; the scale
    below gives both.

    Args:
        maps: What to draw.
        layout: The skeleton layout.
        pose: The body (V, 3) to draw on, in any orientation and unit.
    """
    posed = pose_upright(np.asarray(pose, dtype=np.float64)[None, None], np.ones((1, 1), bool), layout)[0, 0]
    data = {
        "xy": posed[:, :2].round(3).tolist(),
        "names": [name.replace("_", " ") for name in layout.joints],
        "bones": layout.bones,
        "maps": [_plain(values) for values in maps],
    }
    return script_figure("body", data, "body coloured by " + ", ".join(values.title for values in maps))


def _plain(values: JointValues) -> dict[str, object]:
    return {
        "title": values.title,
        "joints": _short(values.joints),
        "bones": None if values.bones is None else _short(values.bones),
        "without": sorted(int(v) for v in values.without),
        "percent": values.percent,
        "picked": values.picked,
    }


def _short(array: NDArray[np.floating]) -> list[object]:
    """Round to four digits, more than colours can show."""
    found: list[object] = np.array([float(f"{v:.4g}") for v in array.ravel()]).reshape(array.shape).tolist()
    return found
