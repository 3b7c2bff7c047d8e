"""The command line of ``skelssl report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, write_json
from skelssl.pages.figures.study import study_svg
from skelssl.pages.report import collect
from skelssl.results.compare import compare
from skelssl.results.read import find_results


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"report: {message}, expected FOLDER... and options as --help lists them")


def run(argv: list[str], about: str = "") -> None:
    """Prints the table of the folders in ``argv``; writes files only where asked to."""
    parser = _Parser(
        prog="skelssl report",
        description=about,
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
    from skelssl.pages import (
        run_page as page,  # loads torch, the data and the encoder, which a plain table does not need
    )

    floors = page.raw_floors(page.open_run(run)[1]) if floor else {}
    for protocol, value in floors.items():
        print(f"raw coordinates, without any learning of features: {protocol} {100 * value:.1f} %")
    if html:
        page.write_page(run, html, floors)
        print(f"-> {html}")
