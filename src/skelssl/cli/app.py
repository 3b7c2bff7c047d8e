"""Run every command alike: quote its paths, and turn a user's mistake into one sentence and exit code 2."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import hydra
from omegaconf import DictConfig

from skelssl.cli.help import COMMANDS, help_text, overview
from skelssl.core.compose import config_dir
from skelssl.core.errors import RankError, Stopped, UserError
from skelssl.core.overrides import quote_path
from skelssl.core.sentences import MISTAKES, sentence


def run_hydra(config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Compose ``conf/<config_name>.yaml`` from the command line and run ``task``; an error exits the process."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(config_name, inspect.getdoc(inspect.getmodule(task)) or ""))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of Hydra's own exit
    sys.argv = [sys.argv[0], *(quote_path(a) for a in sys.argv[1:])]
    configs: list[DictConfig] = []  # of this process's jobs
    mistakes: list[Exception] = []
    parent = os.getpid()

    def job(config: DictConfig) -> None:
        configs.append(config)
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

    _guarded(jobs, config_name, configs)


def run_plain(task: Callable[[list[str]], None], config_name: str | None = None) -> None:
    """Run a command that Hydra does not start; ``config_name`` is the configuration that it composes, if any."""
    _guarded(lambda: task(sys.argv[1:]), config_name)


def _guarded(call: Callable[[], None], config_name: str | None, configs: Sequence[DictConfig] = ()) -> None:
    """Run ``call``; print a user's mistake in one sentence, after its traceback where that is wanted."""
    try:
        call()
    except MISTAKES as error:
        if _wants_traceback(configs):
            traceback.print_exc()
        print(f"error: {sentence(error, config_name)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", UserError.exit_code))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(Stopped.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _wants_traceback(configs: Sequence[DictConfig]) -> bool:
    """Return whether a config has ``trace: true``; where none was composed, the arguments decide."""
    return any(config.get("trace") for config in configs) if configs else "debug=trace" in sys.argv


def main() -> None:
    """Run ``skelssl <command> ...``, the same commands as ``python -m skelssl.<command>``."""
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
