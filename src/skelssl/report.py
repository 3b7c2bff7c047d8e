"""``python -m skelssl.report FOLDER...``: one table of our figures, with the published ones beside them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from skelssl.data.files import atomic_file, write_json
from skelssl.entry import run_plain
from skelssl.errors import UserError
from skelssl.pictures.html import Page
from skelssl.pictures.results import accuracy_bars, results_table
from skelssl.pictures.text import headline, row_cells, sources
from skelssl.rows import Row, find_results, gather


@dataclass(frozen=True)
class Table:
    """The rows, and the forms they are shown in."""

    rows: tuple[Row, ...]

    def rich(self) -> RichTable:
        """For the console."""
        cells = row_cells(self.rows)
        table = RichTable(box=box.SIMPLE_HEAD, caption="\n".join(sources(self.rows)), caption_justify="left")
        for name in cells[0]:
            table.add_column(name, justify="left" if name in TEXT else "right", overflow="fold")
        for row in cells:
            table.add_row(*map(escape, row.values()))
        return table

    def markdown(self) -> str:
        """A pipe table and its sources."""
        cells = row_cells(self.rows)
        lines = [list(cells[0]), ["---" if name in TEXT else "--:" for name in cells[0]], *(c.values() for c in cells)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([table, *sources(self.rows)]) + "\n"

    def json(self) -> list[dict[str, Any]]:
        """Plain numbers, accuracies as fractions; published values in per cent, as printed."""
        return [_plain(row) for row in self.rows]

    def page(self) -> Page:
        """A self-contained HTML page."""
        page = Page("Results", subtitle=headline(self.rows))
        page.add("Trained against random", "Top-1 accuracy of the last epoch.", accuracy_bars(self.rows))
        page.add("All figures", "Accuracies in per cent.", results_table(self.rows))
        return page


TEXT = {"method", "dataset", "protocol", "mode", "setting", "stream", "run"}


def _plain(row: Row) -> dict[str, Any]:
    spreads = {"top1": row.top1, "top1_best_epoch": row.best, "random_init_top1": row.random_init}
    return (
        row.cell._asdict()
        | {"runs": list(row.runs), "seeds": list(row.seeds), "n_test": row.n_test}
        | {key: value._asdict() if value else None for key, value in spreads.items()}
        | {"difference": row.difference._asdict() if row.difference else None}
        | {"published": [{"value": p.value, "status": p.status, "source": p.source} for p in row.published]}
    )


def collect(folders: Sequence[Path]) -> Table:
    """The table of every result under the folders; raises UserError for a folder without any."""
    return Table(tuple(gather(find_results(folders))))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"report: {message}, expected FOLDER... and options as --help lists them")


def run(argv: list[str]) -> None:
    """Prints the table of the folders in ``argv``; writes files only where asked to."""
    parser = _Parser(prog="python -m skelssl.report", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a run, several runs, or a tree of them"
    )
    for form in ("markdown", "json", "html"):
        parser.add_argument(f"--{form}", type=Path, metavar="FILE", help=f"also write it as {form}")
    parser.add_argument("--floor", action="store_true", help="of one run: also what raw coordinates achieve")
    args = parser.parse_args(argv)
    table = collect(args.folders)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table.rich())
    run = args.folders[0] if len(args.folders) == 1 and (args.folders[0] / "config.yaml").exists() else None
    if args.floor and run is None:
        raise UserError(f"--floor: found {len(args.folders)} folders that are no single run, expected one run folder")
    if run and (args.floor or args.html):
        _run_page(run, args.html, args.floor)
    if args.markdown:
        with atomic_file(args.markdown, "w") as file:
            file.write(table.markdown())
    if args.json:
        write_json(args.json, table.json())
    if args.html and run is None:
        table.page().write(args.html)


def _run_page(run: Path, html: Path | None, floor: bool) -> None:
    from skelssl import page  # loads torch, the data and the encoder, which a plain table does not need

    floors = page.raw_floors(page.open_run(run)[1]) if floor else {}
    for protocol, value in floors.items():
        print(f"raw coordinates, without any learning of features: {protocol} {100 * value:.1f} %")
    if html:
        page.write_page(run, html, floors)
        print(f"-> {html}")


def main() -> None:
    """Entry of ``python -m skelssl.report`` and ``skelssl report``."""
    run_plain(run)


if __name__ == "__main__":
    main()
