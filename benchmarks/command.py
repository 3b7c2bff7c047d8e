"""The command line that the benchmarks of a step share: sizes in, a table of both forms out, JSON where asked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.parts import show


def compare(
    run: Callable[..., dict[str, Any]],
    parser: argparse.ArgumentParser,
    alone: Callable[..., dict[str, Any]] | None = None,
    *,
    repeats: bool = True,
) -> None:
    """Calls ``run`` with the options of ``parser`` and prints ``seconds``: part -> (straightforward, ours).

    With ``--alone`` it is ``alone`` that is called, which gives a `benchmarks.parts.study` of our form. ``repeats``
    adds ``--steps``, how often a step is timed.
    """
    if repeats:
        parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    if alone is not None:
        parser.add_argument("--alone", action="store_true", help="our form alone, part by part")
    arguments = vars(parser.parse_args())
    target = arguments.pop("json")
    if alone is not None and arguments.pop("alone"):
        result = alone(**arguments)
        show(result)
    else:
        result = run(**arguments)
        print_forms(result)
    if target is not None:
        target.write_text(json.dumps(result, indent=2) + "\n")


def print_forms(result: dict[str, Any]) -> None:
    """The table of both forms."""
    width = max(26, *(len(part) + 2 for part in result["seconds"]))
    print(f"{'part':<{width}}{'straightforward':>18}{'ours':>10}{'ratio':>8}")
    for part, (straight, ours) in result["seconds"].items():
        print(f"{part:<{width}}{straight:>16.3f} s{ours:>8.3f} s{straight / ours:>7.2f}x")


def sizes(about: str, **defaults: int) -> argparse.ArgumentParser:
    """A parser with one whole-number option per size."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    return parser
