"""Draw tables, bars and histograms of counts, without any script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.axes import Axis, ticks

WIDTH, HEIGHT, FOOT, SIDE = 640, 170, 24, 8  # of the histogram, in pixels


def fact_table(facts: Iterable[tuple[str, str]]) -> str:
    """Return a table with a name and a value per row."""
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts)
    return f'<table class="facts">{rows}</table>'


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a scrolling table whose last column wraps."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(x)}</td>" for x in row[:-1]) + _wide(row[-1]) + "</tr>" for row in rows
    )
    return f'<div class="scroll tall"><table><tr>{cells}</tr>{body}</table></div>'


def _wide(text: str) -> str:
    return f'<td class="wide">{escape(text)}</td>'


def class_table(names: Sequence[str], total: Sequence[int], sides: Mapping[str, Sequence[int]]) -> str:
    """Return a row per class: its number of clips as a bar, and the number in each side of each split."""
    most = max(total, default=0) or 1
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", "class", "clips", "", *sides))
    rows = "".join(
        f"<tr><td>{k + 1}</td><td>{escape(name)}</td><td>{total[k]:,}</td><td>{_track(total[k] / most)}</td>"
        + "".join(f"<td>{side[k]:,}</td>" for side in sides.values())
        + "</tr>"
        for k, name in enumerate(names)
    )
    return f'<div class="scroll tall"><table><tr>{head}</tr>{rows}</table></div>'


def count_bars(groups: Mapping[str, Mapping[str, int]]) -> str:
    """Return groups of bars side by side, scaled to the largest count of the group."""
    return '<div class="counts">' + "".join(_group(name, counts) for name, counts in groups.items()) + "</div>"


def _group(name: str, counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=0) or 1
    bars = "".join(
        f'<div class="bar"><span>{escape(label)}</span>{_track(n / most)}<strong>{n:,}</strong></div>'
        for label, n in counts.items()
    )
    return f'<div class="group"><h3>{escape(name)}</h3><div class="tall">{bars}</div></div>'


def _track(fraction: float) -> str:
    return f'<div class="track"><b style="width:{100 * fraction:.1f}%"></b></div>'


def histogram(values: NDArray[np.int64], unit: str, most: int = 48) -> str:
    """Draw a histogram of integers (N,) with at most ``most`` + 1 bins of equal width."""
    low, high = int(values.min()), int(values.max())
    width = -(-(high - low + 1) // most)
    count = np.bincount((values - low) // width)
    across = Axis(ticks(low, high + 1), SIDE, WIDTH - SIDE)
    edge = across(low + width * np.arange(len(count) + 1).astype(float))
    tall = (HEIGHT - FOOT - 8) * count / count.max()
    bars = "".join(
        f'<rect x="{edge[i]:.1f}" y="{HEIGHT - FOOT - tall[i]:.1f}" width="{max(edge[i + 1] - edge[i] - 1, 0.5):.1f}" '
        f'height="{tall[i]:.1f}"><title>{_span(low + i * width, width)} {escape(unit)}: {n:,}</title></rect>'
        for i, n in enumerate(count.tolist())
    )
    marks = "".join(
        f'<text class="mid" x="{at:.1f}" y="{HEIGHT - 6}">{value:,.0f}</text>' for value, at in across.marks()
    )
    label = f"histogram of {escape(unit)}"
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{bars}{marks}</svg>'
    return f'<div class="panel columns">{svg}</div>'


def _span(first: int, width: int) -> str:
    return f"{first:,}" if width == 1 else f"{first:,} to {first + width - 1:,}"
