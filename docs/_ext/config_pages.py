"""The configuration reference: every key of ``conf/`` with its default and the comment beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from skelssl.core.compose import config_dir

COMMANDS = ("train", "evaluate", "prepare", "explore", "embed", "search", "export", "tune")
OF_HYDRA = ("hydra.launcher.", "hydra.sweeper.")  # the keys of Hydra's that are meant to be changed
GROUPS = {
    "method": "One paper each.", "probe": "How each paper evaluates its encoder.",
    "dataset": "What `prepare` takes, and the splits that `train` takes.",
    "protocol": "How an encoder is evaluated.", "trainer": "Where it runs.", "callbacks": "What watches a run.",
    "logger": "Where metrics are logged.", "launcher": "Who starts the cells of a sweep.",
    "debug": "Quick tries and tracebacks.", "experiment": "Settings and studies of the docs.",
    "scale": "Sizes and lengths below the published ones.",
    "preset": "What a paper sets differently for a dataset (`preset/family`) or for one of its splits.",
}  # fmt: skip


class Key(NamedTuple):
    """One line of a table."""

    name: str  # dotted
    default: str  # as the file has it
    comment: str


def page() -> str:
    """The whole reference as Markdown: commands first, then the groups."""
    folder = config_dir()
    lines = ["# Configuration", "",
             "Made from the files in `conf/` whenever the site is built. A key is set by `KEY=VALUE` on the command "
             "line, a group by `GROUP=NAME`; within a group the keys stand under its name (`method.optim.lr=1e-3`). "
             "`hydra.run.dir=PATH` moves a single run, `-m` sweeps over `KEY=A,B`, and `hydra.searchpath=[FOLDER]` "
             "adds a folder like this one.",
             ""]  # fmt: skip
    lines += ["## Commands", ""]
    for name in COMMANDS:
        lines += [f"### `skelssl {name}`", "", *_file(folder / f"{name}.yaml", "")]
    for group, about in GROUPS.items():
        lines += [f"## {group}", "", about, ""]
        for path in sorted((folder / group).rglob("*.yaml")):
            text = path.read_text("utf-8")
            package = re.search(r"# @package (\S+)", text)
            prefix = package[1].removeprefix("_global_") if package else group
            lines += [f"### `{path.parent.relative_to(folder).as_posix()}={path.stem}`", "", *_file(path, prefix)]
    return "\n".join(lines)


def _file(path: Path, prefix: str) -> list[str]:
    text = path.read_text("utf-8")
    about = _heading(text)
    rows = [f"| `{key.name}` | {_code(key.default)} | {_cell(key.comment)} |" for key in keys(text, prefix)]
    table = ["| key | default | |", "|---|---|---|", *rows, ""] if rows else ["Sets nothing by itself.", ""]
    return [*([about, ""] if about else []), *table]


def _heading(text: str) -> str:
    """The comment that a file begins with, less Hydra's own."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)


def keys(text: str, prefix: str = "") -> list[Key]:
    """Every leaf of a YAML text in its order; what is Hydra's own is left out: ``defaults``, folders, loggers.

    >>> keys("a:\\n  b: 1   # how many\\n        # of them\\nc: [x, y]")
    [Key(name='a.b', default='1', comment='how many of them'), Key(name='c', default='[x, y]', comment='')]
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = text.splitlines()
    found = list(_leaves(node, prefix, text, lines)) if isinstance(node, yaml.MappingNode) else []
    return [key for key in found if not key.name.startswith("hydra.") or key.name.startswith(OF_HYDRA)]


def _leaves(node: yaml.MappingNode, prefix: str, text: str, lines: list[str]) -> Iterator[Key]:
    for name, value in node.value:
        if name.value == "defaults":
            continue
        dotted = f"{prefix}.{name.value}" if prefix else str(name.value)
        line = lines[name.start_mark.line]
        if alias := re.search(r":\s*\*(\w+)", line[name.end_mark.column :]):
            yield Key(dotted.removesuffix(".<<"), f"all of {alias[1]}", _comment(lines, name.start_mark.line, line))
        elif isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _leaves(value, dotted, text, lines)
        else:
            end = value.end_mark
            shown = text[value.start_mark.index : end.index].strip()
            shown = " ".join(shown.split())
            own = lines[end.line][end.column :] if end.line < len(lines) and not _is_block(value) else ""
            yield Key(dotted, shown, _comment(lines, end.line, own))


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _comment(lines: list[str], at: int, rest: str) -> str:
    """The comment in ``rest`` of line ``at``, and the lines below it that hold nothing but its continuation."""
    _, mark, first = rest.partition("#")
    if not mark:
        return ""
    column, words = lines[at].index("#", len(lines[at]) - len(rest)), [first.strip()]
    for line in lines[at + 1 :]:
        if not line.lstrip().startswith("#") or line.index("#") != column:
            break
        words.append(line.lstrip(" #").strip())
    return " ".join(words)


def _code(value: str) -> str:
    return f"`{value.replace('|', chr(92) + '|')}`" if value else ""


def _cell(text: str) -> str:
    """Prose for a cell: signs that Markdown would take for its own are escaped."""
    return re.sub(r"([|*_<>$`\[\]{}])", r"\\\1", text)
