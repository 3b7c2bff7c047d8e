"""One entry for every command: quoted paths in, one sentence and exit code 2 on a user's mistake."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from skelssl.core.compose import config_dir
from skelssl.core.errors import RankError, Stopped, UserError
from skelssl.core.overrides import quote_path
from skelssl.core.sentences import MISTAKES, sentence

COMMANDS = {name: f"skelssl.{name}" for name in ("prepare", "train", "evaluate", "report", "explore")} | {
    name: f"skelssl.cli.{name}" for name in ("embed", "search", "export", "tune", "dashboard")}  # fmt: skip


def run_hydra(config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Composes ``conf/<config_name>.yaml`` from the command line and runs ``task``; never returns normally on error."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(config_name, inspect.getdoc(inspect.getmodule(task)) or ""))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of Hydra's own exit
    sys.argv = [sys.argv[0], *(quote_path(a) for a in sys.argv[1:])]
    mistakes: list[Exception] = []
    parent = os.getpid()

    def job(config: DictConfig) -> None:
        try:
            task(config)
        except MISTAKES as error:
            if os.getpid() != parent:  # a launcher's worker: the exception is its only way home, without its cause
                if isinstance(error, RankError):
                    raise
                raise UserError(sentence(error, config_name)) from error
            mistakes.append(error)  # in a sweep the other jobs still run, and Hydra adds no words of its own

    def jobs() -> None:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(job)()
        for error in mistakes[:-1]:
            print(f"error: {sentence(error, config_name)}", file=sys.stderr)
        if mistakes:
            raise mistakes[-1]

    _guarded(jobs, config_name)


def help_text(config_name: str, about: str) -> str:
    """What a command does, with examples; the groups it chooses from, and its keys with their defaults and comments.

    ``about`` is the docstring of its module, the rest stands in ``conf/<config_name>.yaml``.
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
        "Choices, and which one is taken:\n" + "\n".join(choices),
        "Keys and their defaults (???: must be given):\n" + textwrap.indent(keys.strip(), "  "),
        "-m before the keys runs every combination of KEY=A,B. debug=trace shows where an error came from. Everything\n"
        f"else that can be set, such as method.optim.epochs=10, stands in {config_dir()}",
    ]
    return "\n\n".join(parts)


def _choice(group: str, taken: str, comment: str) -> str:
    """A line of the help: a group, what it is for, and its choices."""
    said = f"  {group}={'...' if taken == '???' else taken}" + (f"  # {comment}" if comment else "")
    return (
        f"{said}\n{textwrap.fill(' '.join(_options(group)), 116, initial_indent='      ', subsequent_indent='      ')}"
    )


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def run_plain(task: Callable[[list[str]], None], config_name: str | None = None) -> None:
    """Runs a command that Hydra does not start; ``config_name`` is the configuration that it composes, if any."""
    _guarded(lambda: task(sys.argv[1:]), config_name)


def _guarded(call: Callable[[], None], config_name: str | None) -> None:
    try:
        call()
    except MISTAKES as error:
        if any(a.replace(" ", "") == "debug=trace" for a in sys.argv):
            traceback.print_exc()
        print(f"error: {sentence(error, config_name)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", UserError.exit_code))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(Stopped.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def overview() -> str:
    """The commands, each with the first sentence of its module."""
    lines = [f"  {name:10s} {_first_sentence(module)}" for name, module in COMMANDS.items()]
    return "\n".join(["usage: skelssl COMMAND KEY=VALUE ...", "", *lines, "", "skelssl COMMAND --help explains one."])


def _first_sentence(module: str) -> str:
    """Read from the file: to import every command would take seconds."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    about = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return about.partition("\n\n")[0].replace("\n", " ")


def main() -> None:
    """``skelssl <command> ...``, the same commands as ``python -m skelssl.<command>``."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        print(overview())
        return
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        print(f"error: command: found {command!r}{hint}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(UserError.exit_code)
    sys.argv = [f"skelssl {command}", *sys.argv[2:]]
    importlib.import_module(COMMANDS[command]).main()
