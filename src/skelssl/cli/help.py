"""Write the help texts of the commands from their docstrings and their files in ``conf/``."""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from pathlib import Path

from skelssl.core.compose import config_dir

COMMANDS = {name: f"skelssl.{name}" for name in ("prepare", "train", "evaluate", "report", "explore")} | {
    name: f"skelssl.cli.{name}" for name in ("embed", "search", "export", "tune", "dashboard")}  # fmt: skip


def overview() -> str:
    """Return the list of commands, each with the first sentence of its module."""
    lines = [f"  {name:10s} {_first_sentence(module)}" for name, module in COMMANDS.items()]
    return "\n".join(["usage: skelssl COMMAND KEY=VALUE ...", "", *lines, "", "skelssl COMMAND --help explains one."])


def _first_sentence(module: str) -> str:
    """Return the first sentence of a docstring, read from the file: to import every command would take seconds."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    about = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return about.partition("\n\n")[0].replace("\n", " ")


def help_text(config_name: str, about: str) -> str:
    """Return what --help prints: what a command does, examples, its config groups, its keys with defaults and comments.

    ``about`` is the docstring of its module; the rest is read from ``conf/<config_name>.yaml``.
    """
    text = (config_dir() / f"{config_name}.yaml").read_text("utf-8")
    head, _, rest = text.partition("\n\n")  # the defaults list ends at the first blank line
    # A group whose name is made of others' is chosen by itself.
    groups = re.findall(r"^  - (?:optional )?(\w+): ([^\s$]+)(?: *# (.*))?$", head, re.MULTILINE)
    choices = [_choice(*group) for group in groups if _options(group[0])]
    keys, _, _ = rest.partition("\nhydra:")
    module = COMMANDS.get(config_name, f"skelssl.{config_name}")
    parts = [
        about,
        f"usage: skelssl {config_name} KEY=VALUE ...      or: python -m {module} KEY=VALUE ...",
        "Choices and their defaults:\n" + "\n".join(choices),
        "Keys and their defaults (???: must be given):\n" + textwrap.indent(keys.strip(), "  "),
        "-m before the keys runs every combination of KEY=A,B. debug=trace shows where an error came from. Everything\n"
        f"else that can be set, such as method.optim.epochs=10, is in {config_dir()}",
    ]
    return "\n\n".join(parts)


def _choice(group: str, taken: str, comment: str) -> str:
    """Return the lines of a config group: its default, what it is for, and its choices."""
    line = f"  {group}={'...' if taken == '???' else taken}" + (f"  # {comment}" if comment else "")
    return (
        f"{line}\n{textwrap.fill(' '.join(_options(group)), 116, initial_indent='      ', subsequent_indent='      ')}"
    )


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
