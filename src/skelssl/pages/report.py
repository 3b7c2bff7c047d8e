"""Collect the results under some folders into one table, and write it in several formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from skelssl.pages.figures.html import Page
from skelssl.pages.figures.lost_joints import CAPTION, LostJointsCurve, curves_of, lost_joints_figure
from skelssl.pages.figures.results import accuracy_bars, results_table
from skelssl.pages.figures.study import CAPTION as STUDY
from skelssl.pages.figures.study import study_figure
from skelssl.results.aggregate import Row, gather_rows
from skelssl.results.read import find_results
from skelssl.results.study import results_of_study, rows_of_study
from skelssl.results.tables import markdown_table, rich_table
from skelssl.results.text import headline, row_cells, table_notes


@dataclass(frozen=True)
class Table:
    """The rows of the report, with its output formats."""

    rows: tuple[Row, ...]
    lost: tuple[LostJointsCurve, ...] = ()
    notes: tuple[str, ...] = ()

    def rich(self) -> RichTable:
        """Return the table for the console."""
        return rich_table(row_cells(self.rows), [*self.notes, *table_notes(self.rows)])

    def markdown(self) -> str:
        """Return a Markdown table and its sources."""
        return markdown_table(row_cells(self.rows), [*self.notes, *table_notes(self.rows)])

    def json(self) -> list[dict[str, Any]]:
        """Return plain numbers: accuracies as fractions, published values in per cent as printed."""
        return [_plain(row) for row in self.rows]

    def page(self) -> Page:
        """Return a self-contained HTML page."""
        page = Page("Results", subtitle=" ".join([headline(self.rows), *self.notes]))
        if any(row.swept for row in self.rows):
            page.add("Study", STUDY, study_figure(self.rows))
        page.add(
            "Results against random init", "Top-1 accuracy of the last epoch, in per cent.", accuracy_bars(self.rows)
        )
        if self.lost:
            page.add("Lost joints", CAPTION, lost_joints_figure(self.lost))
        page.add("All metrics", "Accuracies in per cent.", results_table(self.rows))
        return page


def _plain(row: Row) -> dict[str, Any]:
    spreads = {"top1": row.top1, "top1_best_epoch": row.best, "mean_class_accuracy": row.mean_class,
               "random_init_top1": row.random_init}  # fmt: skip
    return (
        row.cell._asdict()
        | ({"swept": dict(row.swept)} if row.swept else {})
        | {"runs": list(row.runs), "seeds": list(row.seeds), "n_test": row.n_test}
        | {key: value._asdict() if value else None for key, value in spreads.items()}
        | {"difference": row.difference._asdict() if row.difference else None}
        | {"published": [{"value": p.value, "status": p.status, "source": p.source} for p in row.published]}
        | {"gap": row.gap, "departures": list(row.departures)}
    )


def collect(folders: Sequence[Path], study: Sequence[str] | None = None) -> Table:
    """Return the table of every result under the folders.

    Args:
        folders: Runs, or trees of them.
        study: The arguments of a sweep, whose cells are selected and gain columns of the swept keys. An empty
            sequence selects all results.

    Raises:
        UserError: A folder has no result, or the study has no cell there or swept nothing.
    """
    results, notes = find_results(folders), list[str]()
    if study:
        results, notes = results_of_study(results, study)
    rows = gather_rows(results)
    return Table(tuple(rows if study is None else rows_of_study(rows)), tuple(curves_of(results)), tuple(notes))
