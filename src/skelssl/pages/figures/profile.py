"""Draw a bar for every frame or segment."""

from __future__ import annotations

from collections.abc import Collection
from html import escape

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.axes import Axis, ticks
from skelssl.pages.figures.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, gridline


def bar_profile(
    title: str, fractions: NDArray[np.floating], unit: str, *, dropped: Collection[int] = (), digits: int = 1
) -> str:
    """Draw a bar for each of the ``fractions`` (S,) of at least 0, in per cent; ``dropped`` ones are red."""
    y = Axis(ticks(0.0, float(fractions.max(initial=0.0)) or 1.0), HEIGHT - BOTTOM, TOP)
    edge = np.linspace(LEFT, WIDTH - RIGHT, len(fractions) + 1)
    top = y(np.asarray(fractions, dtype=np.float64))
    gap = 1.0 if edge[1] - edge[0] > 3 else 0.2
    bars = "".join(
        f'<rect x="{edge[i]:.1f}" y="{top[i]:.1f}" width="{edge[i + 1] - edge[i] - gap:.2f}" '
        f'height="{HEIGHT - BOTTOM - top[i]:.1f}"{_gone(i in dropped)}>'
        f"<title>{escape(unit)} {i + 1}: {100 * value:.{digits}f} %</title></rect>"
        for i, value in enumerate(fractions.tolist())
    )
    grid = "".join(gridline(f"{100 * value:g} %", at) for value, at in y.marks())
    ends = "".join(
        f'<text x="{(edge[i] + edge[i + 1]) / 2:.1f}" y="{HEIGHT - 10}" class="mid">{i + 1}</text>'
        for i in sorted({0, len(fractions) // 2, len(fractions) - 1})
    )
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{grid}{bars}{ends}</svg>'
    return f'<div class="panel profile"><h3>{escape(title)}</h3>{svg}</div>'


def _gone(dropped: bool) -> str:
    return ' class="gone"' if dropped else ""
