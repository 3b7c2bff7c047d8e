"""Run ``skelssl report``: print the results under some folders as one table and write it to files."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from skelssl.cli.arguments import CommandParser
from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, write_json
from skelssl.pages.figures.study import study_svg
from skelssl.pages.report import Table, collect
from skelssl.results.compare import compare
from skelssl.results.read import find_results


def report_command(argv: list[str], about: str = "") -> None:
    """Print the table of the folders in ``argv``; files are written only on request.

    Args:
        argv: the arguments of the command line.
        about: the help text.

    Raises:
        UserError: for arguments that do not fit together, and folders without results.
    """
    args = _parser(about).parse_args(argv)
    console = Console() if Console().is_terminal else Console(width=190)
    if args.compare:
        _compare(args, console)
        return
    if args.svg and args.study is None:
        raise UserError("--svg: found no --study beside it, expected a study, whose charts it writes")
    run = args.folders[0] if len(args.folders) == 1 and (args.folders[0] / "config.yaml").exists() else None
    if run and _wants_page_alone(args) and not any(run.rglob("result.json")):
        print(f"{run} has no evaluation yet; its page has what there is")
        _run_page(run, args.html, args.floor)
        return
    table = collect(args.folders, args.study)
    console.print(table.rich())
    if args.floor and run is None:
        raise UserError(f"--floor: found {len(args.folders)} folders that are no single run, expected one run folder")
    if run and (args.floor or args.html):
        _run_page(run, args.html, args.floor)
    _write_files(args, table, page=run is None)


def _parser(about: str) -> CommandParser:
    parser = CommandParser("report", about, "FOLDER...")
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a run, several runs, or a tree of them"
    )
    for form in ("markdown", "json", "html"):
        parser.add_argument(f"--{form}", type=Path, metavar="FILE", help=f"also write it as {form}")
    parser.add_argument(
        "--floor", action="store_true", help="for one run: also evaluate raw coordinates, as a naive baseline"
    )
    parser.add_argument(
        "--compare", action="store_true", help="for two folders: the first minus the second, clip by clip"
    )
    parser.add_argument(
        "--study", nargs="*", metavar="OVERRIDE", help="for a sweep (its arguments): columns and charts of swept keys"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="with --study: also write the charts as one file")
    return parser


def _wants_page_alone(args: argparse.Namespace) -> bool:
    return args.html is not None and not any([args.markdown, args.json, args.svg, args.study])


def _write_files(args: argparse.Namespace, table: Table, *, page: bool) -> None:
    """Write the table in each form that the arguments name; its ``page`` only where no run page takes that file."""
    if args.markdown:
        _write_text(args.markdown, table.markdown())
    if args.json:
        write_json(args.json, table.json())
    if args.svg:
        _write_text(args.svg, study_svg(table.rows))
    if args.html and page:
        table.page().write(args.html)


def _compare(args: argparse.Namespace, console: Console) -> None:
    if len(args.folders) != 2 or args.html or args.floor:
        raise UserError(
            f"--compare: found {len(args.folders)} folders, expected two, and --markdown or --json for files"
        )
    found = compare(*(find_results([folder]) for folder in args.folders))
    console.print(found.rich())
    if args.markdown:
        _write_text(args.markdown, found.markdown())
    if args.json:
        write_json(args.json, found.json())


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path, "w") as file:
        file.write(text)


def _run_page(run: Path, html: Path | None, floor: bool) -> None:
    from skelssl.pages import run_page as page  # loads torch, which a plain table does not need

    floors = page.raw_floors(page.open_run(run)[1]) if floor else {}
    for protocol, value in floors.items():
        print(f"raw coordinates, without any learning of features: {protocol} {100 * value:.1f} %")
    if html:
        page.write_page(run, html, floors)
        print(f"-> {html}")
