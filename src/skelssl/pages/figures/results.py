"""Draw accuracies as bars and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from skelssl.results.aggregate import Row
from skelssl.results.statistics import Interval
from skelssl.results.text import format_points, row_cells, table_notes


def results_table(rows: Sequence[Row]) -> str:
    """Return the table of the report with its sources below."""
    cells = row_cells(rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in cells[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row.values()) + "</tr>" for row in cells)
    notes = "".join(f"<li>{escape(line)}</li>" for line in table_notes(rows))
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div><ul class="notes">{notes}</ul>'


def accuracy_bars(rows: Sequence[Row], floors: Mapping[str, float] | None = None) -> str:
    """Draw a group of bars per row: pre-trained, random init and the protocol's floor; a tick marks a published number.

    ``floors`` are accuracies of raw coordinates by protocol, as fractions.
    """
    return '<div class="bars">' + "".join(_group(row, (floors or {}).get(row.cell.protocol)) for row in rows) + "</div>"


def _group(row: Row, floor: float | None) -> str:
    measured = {"trained": row.top1, "random init": row.random_init}
    bars = {name: found.mean if found else None for name, found in measured.items()} | {"raw coordinates": floor}
    ticks = "".join(
        f'<i class="tick" style="left:{p.value:.1f}%" title="published: {escape(p.tag)}, {escape(p.source)}"></i>'
        for p in row.published
    )
    lines = "".join(
        _bar(name, value, ticks if name == "trained" else "") for name, value in bars.items() if value is not None
    )
    gain = _difference(row.difference) if row.difference else ""
    swept = [f"{key.removeprefix('method.')} {value}" for key, value in row.swept.items()]
    name = " · ".join([*(x for x in row.cell if x), *swept])
    return f'<div class="group"><h3>{escape(name)}</h3>{lines}{gain}</div>'


def _difference(found: Interval) -> str:
    """Return pre-trained minus random init; green only if the confidence interval is above 0."""
    kind = "gain" if found.low > 0 else "gain none"
    return f'<p class="{kind}">{escape(format_points(found))} points against random init</p>'


def _bar(name: str, value: float, ticks: str) -> str:
    track = f'<div class="track"><b style="width:{100 * value:.1f}%"></b>{ticks}</div>'
    number = f"<strong>{100 * value:.1f}</strong>"
    return f'<div class="bar {name.replace(" ", "-")}"><span>{name}</span>{track}{number}</div>'
