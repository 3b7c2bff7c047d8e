"""Format rows of a report as text: the cells of a table, the notes below it, and a headline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from skelssl.results.aggregate import Row
from skelssl.results.statistics import Interval, SeedStatistics


def format_percent(value: SeedStatistics | None) -> str:
    """Return per cent, such as ``77.3 ± 0.4``; empty where nothing was measured."""
    if value is None:
        return ""
    return f"{100 * value.mean:.1f}" + (f" ± {100 * value.sd:.1f}" if value.sd is not None else "")


def format_points(value: Interval | None) -> str:
    """Return percentage points with the 95 % interval, such as ``+12.0 [10.1, 14.0]``."""
    if value is None:
        return ""
    mean, low, high = (100 * x for x in value)
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]"


def row_cells(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return header and text of every cell, without setting, mode, stream, run and gap columns that tell nothing."""
    repeated = any(n > 1 for n in Counter(row.cell for row in rows).values())
    columns = list(dict.fromkeys(key for row in rows for key in row.swept))
    cells = [_cells(row, columns) for row in rows]
    hidden = {"run"} if columns or not repeated else set()
    hidden |= {name for name in ("setting", "mode", "stream", "gap") if not any(c[name] for c in cells)}
    return [{k: v for k, v in c.items() if k not in hidden} for c in cells]


def _cells(row: Row, columns: Sequence[str]) -> dict[str, str]:
    return {
        **{name: value or "" for name, value in row.cell._asdict().items()},
        **{key.removeprefix("method."): str(row.swept.get(key, "")) for key in columns},
        "run": ", ".join(row.runs),
        "seeds": ", ".join(map(str, row.seeds)),
        "last epoch": format_percent(row.top1),
        "best epoch": format_percent(row.best),
        "class mean": format_percent(row.mean_class),
        "random init": format_percent(row.random_init),
        "difference [95 %]": format_points(row.difference),
        "published": "; ".join(p.tag for p in row.published),
        "gap": "" if row.gap is None else f"{row.gap:+.1f}",
    }


def table_notes(rows: Sequence[Row]) -> list[str]:
    """Return notes on the columns, and the source of each published number in the table."""
    notes = ["Top-1 in per cent; several seeds: mean ± standard deviation. Best epoch is chosen on the test set."]
    if any(row.difference for row in rows):
        notes += ["Difference: trained minus random init, paired over test clips, bootstrap over clips."]
    if any(row.gap is not None for row in rows):
        notes += ["Gap: last epoch minus the first published number, in points, where all is as published."]
    for departures, said in _not_as_published(rows).items():
        notes += [f"No gap for {', '.join(said)}: not as published in {', '.join(departures)}."]
    if any(row.mean_class for row in rows):
        notes += ["Class mean: the classes' accuracies, each class weighing the same."]
    cited = dict.fromkeys(p for row in rows for p in row.published)
    return notes + [f"{p.method} {p.dataset} {p.protocol} {p.stream} {p.tag}: {p.source}." for p in cited]


def _not_as_published(rows: Sequence[Row]) -> dict[tuple[str, ...], list[str]]:
    """Return the rows that depart from a published number, by their first four departures."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row.departures:
            shown = row.departures[:4] + (("...",) if len(row.departures) > 4 else ())
            found.setdefault(shown, []).append(f"{row.cell.method} {row.cell.dataset} {row.cell.protocol}")
    return {shown: list(dict.fromkeys(said)) for shown, said in found.items()}


def headline(rows: Sequence[Row]) -> str:
    """Return what the rows compare, such as ``pstl on synthetic_xsub, seeds 0, 1, 2``."""
    methods, sets = (", ".join(dict.fromkeys(getattr(r.cell, k) for r in rows)) for k in ("method", "dataset"))
    seeds = sorted({s for r in rows for s in r.seeds})
    return f"{methods} on {sets}" + (f", seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else "")
