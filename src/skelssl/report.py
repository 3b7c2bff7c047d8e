"""Makes one table of all results under some folders, with the published figures beside them.

skelssl report outputs
skelssl report RUN --html report.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table as RichTable

from skelssl.cli.app import run_plain
from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, write_json
from skelssl.pictures.html import Page
from skelssl.pictures.lost_joints import CAPTION, Curve, curves_of, lost_joints_figure
from skelssl.pictures.results import accuracy_bars, results_table
from skelssl.pictures.study import CAPTION as STUDY
from skelssl.pictures.study import study_figure, study_svg
from skelssl.results.aggregate import Row, gather
from skelssl.results.compare import compare
from skelssl.results.read import find_results
from skelssl.results.study import of_study, studied
from skelssl.results.tables import markdown_table, rich_table
from skelssl.results.text import headline, row_cells, sources


@dataclass(frozen=True)
class Table:
    """The rows, and the forms they are shown in."""

    rows: tuple[Row, ...]
    lost: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()

    def rich(self) -> RichTable:
        """For the console."""
        return rich_table(row_cells(self.rows), [*self.notes, *sources(self.rows)])

    def markdown(self) -> str:
        """A pipe table and its sources."""
        return markdown_table(row_cells(self.rows), [*self.notes, *sources(self.rows)])

    def json(self) -> list[dict[str, Any]]:
        """Plain numbers, accuracies as fractions; published values in per cent, as printed."""
        return [_plain(row) for row in self.rows]

    def page(self) -> Page:
        """A self-contained HTML page."""
        page = Page("Results", subtitle=" ".join([headline(self.rows), *self.notes]))
        if any(row.swept for row in self.rows):
            page.add("Study", STUDY, study_figure(self.rows))
        page.add("Trained against random", "Top-1 accuracy of the last epoch.", accuracy_bars(self.rows))
        if self.lost:
            page.add("Lost joints", CAPTION, lost_joints_figure(self.lost))
        page.add("All figures", "Accuracies in per cent.", results_table(self.rows))
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
    """The table of every result under the folders; for a ``study`` with what it swept.

    ``study`` holds the arguments of a sweep, whose cells are chosen; without any, all results belong to it. Raises
    UserError for a folder without any result, and for a study that has no cell there or swept nothing.
    """
    results, notes = find_results(folders), list[str]()
    if study:
        results, notes = of_study(results, study)
    rows = gather(results)
    return Table(tuple(rows if study is None else studied(rows)), tuple(curves_of(results)), tuple(notes))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"report: {message}, expected FOLDER... and options as --help lists them")


def run(argv: list[str]) -> None:
    """Prints the table of the folders in ``argv``; writes files only where asked to."""
    parser = _Parser(
        prog="skelssl report",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a run, several runs, or a tree of them"
    )
    for form in ("markdown", "json", "html"):
        parser.add_argument(f"--{form}", type=Path, metavar="FILE", help=f"also write it as {form}")
    parser.add_argument("--floor", action="store_true", help="of one run: also what raw coordinates achieve")
    parser.add_argument(
        "--compare", action="store_true", help="of two folders: the first minus the second, clip by clip"
    )
    parser.add_argument(
        "--study", nargs="*", metavar="OVERRIDE", help="of a sweep (its arguments): columns and charts of what it swept"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="with --study: also write the charts as one file")
    args = parser.parse_args(argv)
    console = Console() if Console().is_terminal else Console(width=190)
    if args.compare:
        _compare(args, console)
        return
    if args.svg and args.study is None:
        raise UserError("--svg: found no --study beside it, expected a study, whose charts it writes")
    run = args.folders[0] if len(args.folders) == 1 and (args.folders[0] / "config.yaml").exists() else None
    tables = [args.markdown, args.json, args.svg, args.study]
    if run and args.html and not any(tables) and not any(run.rglob("result.json")):
        print(f"{run} has no evaluation yet; its page has what there is")
        _run_page(run, args.html, args.floor)
        return
    table = collect(args.folders, args.study)
    console.print(table.rich())
    if args.floor and run is None:
        raise UserError(f"--floor: found {len(args.folders)} folders that are no single run, expected one run folder")
    if run and (args.floor or args.html):
        _run_page(run, args.html, args.floor)
    if args.markdown:
        with atomic_file(args.markdown, "w") as file:
            file.write(table.markdown())
    if args.json:
        write_json(args.json, table.json())
    if args.svg:
        with atomic_file(args.svg, "w") as file:
            file.write(study_svg(table.rows))
    if args.html and run is None:
        table.page().write(args.html)


def _compare(args: argparse.Namespace, console: Console) -> None:
    if len(args.folders) != 2 or args.html or args.floor:
        raise UserError(
            f"--compare: found {len(args.folders)} folders, expected two, and --markdown or --json for files"
        )
    found = compare(*(find_results([folder]) for folder in args.folders))
    console.print(found.rich())
    if args.markdown:
        with atomic_file(args.markdown, "w") as file:
            file.write(found.markdown())
    if args.json:
        write_json(args.json, found.json())


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
