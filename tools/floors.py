"""Print the floors of the package and every import that points up: ``python -m tools.floors``.

A room is a folder or a loose module of ``src/skelssl``. It may import rooms of lower floors only, and no modules may
import each other in a circle. Imports within functions and under ``TYPE_CHECKING`` count as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "skelssl"
# Ground floor first. Rooms of one floor do not import each other.
FLOORS: Sequence[Sequence[str]] = (
    ("core",),
    ("runtime", "skeleton"),
    ("results", "data"),
    ("views",),
    ("encoders",),
    ("maskers", "losses", "pretrained"),
    ("optim", "heads", "momentum"),
    ("methods", "protocols"),
    ("pages",),
    ("training",),
    ("cli",),
    ("api", "train", "evaluate", "prepare", "report", "explore"),
    ("__init__", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return the modules that each module imports, by dotted names below the package; a package is its ``__init__``."""
    files = {file.relative_to(package).with_suffix("").parts: file for file in sorted(package.rglob("*.py"))}
    names = {".".join(parts).removesuffix(".__init__"): file for parts, file in files.items()}
    return {name: _imported(file, package.name, names) - {name} for name, file in names.items()}


def _imported(file: Path, package: str, names: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    own = (name.removeprefix(f"{package}.") for name in found if name.startswith(f"{package}."))
    return {module for name in own if (module := _module(name, names))}


def _module(name: str, names: Mapping[str, Path]) -> str:
    """Return the module that ``name``, a module or something in one, belongs to; empty for the package itself."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name


def room(module: str) -> str:
    """Return the folder or loose module that holds ``module``."""
    return module.partition(".")[0]


def wrong_arrows(graph: Mapping[str, set[str]]) -> list[str]:
    """Return a line for each import of a room on the same or a higher floor, and for each room without a floor."""
    lost = sorted({room(module) for module in graph} - FLOOR.keys())
    arrows = sorted((a, b) for a, targets in graph.items() for b in targets if room(a) != room(b))
    up = [f"{a} -> {b}" for a, b in arrows if FLOOR.get(room(b), -1) >= FLOOR.get(room(a), len(FLOORS))]
    return [f"{name}: on no floor" for name in lost] + up


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one import circle in order, the first one twice; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def main() -> int:
    """Print the floors, top floor first, and what is wrong; return 1 where something is."""
    graph = imports()
    arrows = {(room(a), room(b)) for a, targets in graph.items() for b in targets if room(a) != room(b)}
    for number, rooms in reversed(list(enumerate(FLOORS))):
        for name in rooms:
            targets = sorted((b for a, b in arrows if a == name), key=lambda b: (-FLOOR.get(b, -1), b))
            print(f"{number:2d}  {name:10s} -> {' '.join(targets)}".removesuffix(" -> "))
    print(f"{len(FLOOR)} rooms, {len(FLOORS)} floors, {len(arrows)} arrows, {len(graph)} modules")
    wrong, round_trip = wrong_arrows(graph), circle(graph)
    print("\n".join(f"points up: {line}" for line in wrong) or "no arrow points up")
    print(f"circle: {' -> '.join(round_trip)}" if round_trip else "no circle")
    return int(bool(wrong or round_trip))


if __name__ == "__main__":
    sys.exit(main())
