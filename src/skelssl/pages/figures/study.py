"""Draw a study: accuracy over each swept number, with a band from the lowest to the highest seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from html import escape

import numpy as np

from skelssl.core.errors import UserError
from skelssl.pages.figures.curves import HEIGHT, WIDTH, Line, chart_panel, line_chart, line_classes
from skelssl.pages.figures.html import stylesheet
from skelssl.results.aggregate import Row
from skelssl.results.read import Cell
from skelssl.results.study import ABSENT, is_number

CAPTION = (
    "Top-1 of the last epoch over the swept keys. The line is the mean over seeds, the band spans minimum to maximum. "
    "Dashed: the same encoder at random init."
)
Panel = tuple[str, list[Line]]


def study_figure(rows: Sequence[Row]) -> str:
    """Draw the charts of the study for a page; empty if no swept key is a number."""
    return '<div class="panels">' + "".join(chart_panel(*one) for one in study_panels(rows)) + "</div>"


def study_svg(rows: Sequence[Row]) -> str:
    """Draw the same charts as one SVG file; raise UserError if no swept key is a number."""
    found = study_panels(rows)
    if not found:
        names = sorted({key for row in rows for key in row.swept})
        raise UserError(f"--svg: found no number in two rows of {', '.join(names)}, expected an axis")
    body, top = "", 0
    for title, lines in found:
        body += f'<g transform="translate(0 {top})">{_titled(title, lines)}</g>'
        top += _head(lines) + HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="panel" viewBox="0 0 {WIDTH} {top}" '
        f'width="{1.5 * WIDTH:g}"><style>{escape(stylesheet(), quote=False)}</style>'
        f'<rect width="100%" height="100%" style="fill:var(--card)"/>{body}</svg>\n'
    )


def study_panels(rows: Sequence[Row]) -> list[Panel]:
    """Return (title, lines) for each cell and swept number, with a line for each choice of the other keys."""
    groups: dict[Cell, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.cell].append(row)
    distinct = [
        k for k in Cell._fields if k in ("method", "dataset", "protocol") or len({getattr(c, k) for c in groups}) > 1
    ]
    found = []
    for cell, members in groups.items():
        name = ", ".join(str(getattr(cell, part)) for part in distinct if getattr(cell, part))
        for key in members[0].swept:
            if lines := _lines([row for row in members if is_number(row.swept[key]) and row.top1s], key):
                found.append((f"{name}: accuracy over {_short(key)}", lines))
    return found


def _lines(rows: Sequence[Row], key: str) -> list[Line]:
    curves: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.swept[key]):
        others = [f"{_short(k)} {v}" for k, v in row.swept.items() if k != key and v != ABSENT]
        curves[", ".join(others) or "trained"].append(row)
    lines: list[Line] = []
    random: dict[tuple[object, ...], Line] = {}  # a sweep rarely changes it: equal lines are drawn once
    for name, members in curves.items():
        if len({row.swept[key] for row in members}) < 2:
            continue
        lines.append(_line(name, members, key, len(lines), "top1s"))
        values = tuple((row.swept[key], row.randoms) for row in members)
        if all(row.randoms for row in members):
            random.setdefault(values, _line(f"{name}, random init", members, key, len(lines) - 1, "randoms"))
    if len(random) == 1:
        random = {k: replace(line, name="random init") for k, line in random.items()}
    return [*lines, *random.values()]


def _line(name: str, rows: Sequence[Row], key: str, color: int, side: str) -> Line:
    x = np.array([row.swept[key] for row in rows], np.float64)
    mean, low, high = (np.array([f(getattr(row, side)) for row in rows]) for f in (np.mean, min, max))
    return Line(name, x, mean, low, high, unit=_short(key), color=color, dashed=side == "randoms")


def _short(key: str) -> str:
    return key.removeprefix("method.")


def _head(lines: Sequence[Line]) -> int:
    """Return the height of title and legend above a chart of the SVG file; the legend has two columns."""
    return 26 + 18 * ((len(lines) + 1) // 2)


def _titled(title: str, lines: Sequence[Line]) -> str:
    """Return a chart under its title and legend."""
    legend = "".join(
        f'<g class="{line_classes(line, i)}" transform="translate({8 + i % 2 * WIDTH / 2:.0f} {36 + 18 * (i // 2)})">'
        f'<polyline points="0,-4 14,-4" style="stroke:currentColor;stroke-width:3"/>'
        f'<text x="19">{escape(line.name)}</text></g>'
        for i, line in enumerate(lines)
    )
    heading = f'<text x="8" y="17" style="fill:var(--ink);font-weight:600">{escape(title)}</text>'
    return f'{heading}{legend}<g transform="translate(0 {_head(lines)})">{line_chart(title, lines)[0]}</g>'
