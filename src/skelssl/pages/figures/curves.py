"""Draw training curves: one small chart per family of metrics, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.axes import Axis, log_ticks, ticks
from skelssl.pages.figures.html import script_figure

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 30
MASKS = {"share": "masked fraction", "motion": "motion of the masked part relative to the mean"}
POINTS = 300  # per line, more than a screen resolves


@dataclass(frozen=True)
class Line:
    """A curve thinned to at most POINTS bins: mean, minimum and maximum of each."""

    name: str
    x: NDArray[np.float64]  # (P,) steps
    mean: NDArray[np.float64]  # (P,)
    low: NDArray[np.float64]  # (P,)
    high: NDArray[np.float64]  # (P,)
    unit: str = "step"  # what x counts
    color: int | None = None  # index of the palette; None: the index of the line in the chart
    dashed: bool = False


def loss_curve(rows: Sequence[Mapping[str, float]]) -> str:
    """Draw loss, probe accuracy, learning rate and all other logged metrics over the steps.

    Args:
        rows: The rows of ``metrics.csv``; a row may lack any column. Values that are not finite are left out.
    """
    names = [name for name in dict.fromkeys(k for row in rows for k in row) if name not in ("step", "epoch")]
    families: dict[str, list[Line]] = {}
    for name in names:
        if (line := _line(name, rows)) is not None:
            families.setdefault(_family(name), []).append(line)
    order = sorted(families, key=lambda f: ({"training loss": 0, "probe accuracy": 1, "learning rate": 2}.get(f, 3), f))
    return '<div class="panels">' + "".join(chart_panel(family, families[family]) for family in order) + "</div>"


def _family(name: str) -> str:
    if name.startswith("train/") and "loss" in name:
        return "training loss"
    if name.startswith("probe/"):
        return "probe accuracy"
    if name.startswith("mask/"):
        return MASKS.get(name.split("/")[-1], name)
    return "learning rate" if name.split("/")[-1].startswith("lr") else name


def _line(name: str, rows: Sequence[Mapping[str, float]]) -> Line | None:
    points = [(row.get("step", i), row[name]) for i, row in enumerate(rows) if name in row]
    x, y = np.array([p for p in points if math.isfinite(p[1])]).reshape(-1, 2).T
    if len(x) == 0:
        return None
    starts = np.unique(np.linspace(0, len(x), min(len(x), POINTS), endpoint=False).astype(int))
    count = np.diff(np.append(starts, len(x)))
    mean, low, high = (op.reduceat(y, starts) for op in (np.add, np.minimum, np.maximum))
    return Line(name, np.add.reduceat(x, starts) / count, mean / count, low, high)


def chart_panel(title: str, lines: Sequence[Line]) -> str:
    """One chart of lines; accuracies (by the title) are fractions, shown in per cent."""
    svg, x, y = line_chart(title, lines)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{svg}</svg>'
    names = "".join(
        f'<span class="key {line_classes(line, i)}">{escape(line.name)}</span>' for i, line in enumerate(lines)
    )
    heading = f"<h3>{escape(title)}{', log scale' if y.log else ''}</h3>"
    hover = script_figure("curves", [_hover(line, x, _percent(title)) for line in lines], title)
    return f'<div class="panel">{heading}<p class="keys">{names}</p>{svg}{hover}</div>'


def line_chart(title: str, lines: Sequence[Line]) -> tuple[str, Axis, Axis]:
    """What stands inside of the SVG of a `panel`, WIDTH x HEIGHT pixels, and its axes."""
    x, y = _axes(title, lines)
    percent = _percent(title)
    grid = "".join(gridline(f"{100 * v:g} %" if percent else f"{v:.4g}", at) for v, at in y.marks())
    marks = "".join(f'<text x="{at:.1f}" y="{HEIGHT - 10}" class="mid">{v:g}</text>' for v, at in x.marks())
    paths = "".join(_path(line, x, y, i) for i, line in enumerate(lines))
    cursor = f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    return f"{grid}{marks}{paths}{cursor}", x, y


def _percent(title: str) -> bool:
    return "accuracy" in title or title.endswith("top1")


def _axes(title: str, lines: Sequence[Line]) -> tuple[Axis, Axis]:
    low, high = min(line.low.min() for line in lines), max(line.high.max() for line in lines)
    steps = ticks(min(line.x[0] for line in lines), max(line.x[-1] for line in lines))
    log = title == "training loss" and low > 0 and high / low > 30
    values = log_ticks(low, high) if log else ticks(low if title == "training loss" else min(low, 0.0), high)
    return Axis(steps, LEFT, WIDTH - RIGHT), Axis(values, HEIGHT - BOTTOM, TOP, log)


def _hover(line: Line, x: Axis, percent: bool) -> dict[str, object]:
    return {
        "name": line.name,
        "unit": line.unit,
        "step": [round(x) if line.unit == "step" or x == round(x) else float(f"{x:.4g}") for x in line.x.tolist()],
        "at": (x(line.x) / WIDTH).round(4).tolist(),
        "text": [f"{100 * v:.1f} %" if percent else f"{v:.4g}" for v in line.mean],
    }


def _path(line: Line, x: Axis, y: Axis, i: int) -> str:
    def points(at: NDArray[np.float64], values: NDArray[np.float64]) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x(at), y(values), strict=True))

    band = points(np.append(line.x, line.x[::-1]), np.append(line.high, line.low[::-1]))
    end = f'<circle cx="{x(line.x)[-1]:.1f}" cy="{y(line.mean)[-1]:.1f}" r="3.5"/>'
    shape = f'<polygon points="{band}"/><polyline points="{points(line.x, line.mean)}"/>{end}'
    return f'<g class="line {line_classes(line, i)}">{shape}</g>'


def line_classes(line: Line, i: int) -> str:
    """Its classes in ``page.css``."""
    return f"c{(i if line.color is None else line.color) % 6}{' dashed' * line.dashed}"


def gridline(text: str, at: float) -> str:
    """A line across the chart at height ``at``, with its value beside it."""
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
    return f'{line}<text x="{LEFT - 7}" y="{at + 4:.1f}" class="end">{text}</text>'
