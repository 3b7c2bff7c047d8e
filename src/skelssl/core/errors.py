"""Define the errors that end a command early, each with its exit code, and checks that raise them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path


class UserError(ValueError):
    """A mistake the user can fix: one sentence naming the key or file, what was found and what was expected.

    It is a ValueError, so that code which calls the library needs to know no exception of ours. ``skelssl.cli.app``
    prints the sentence and exits with code 2; library code never exits by itself.
    """

    exit_code = 2


class Refused(UserError):
    """A file that cannot be read as a clip: the file, a code of the bad-input catalogue and the reason."""

    def __init__(self, path: Path | str, code: str, reason: str) -> None:
        super().__init__(f"{path}: {reason} ({code})")
        self.path, self.code, self.reason = Path(path), code, reason


class Diverged(UserError):
    """A training that diverged because of its settings; a search continues with other settings."""


class RankError(Exception):
    """A rank of a run was killed or failed: one sentence, exit code 1. The same command resumes the run."""

    exit_code = 1


class Stopped(BaseException):
    """A signal ended the run after it had saved its state: one sentence, exit code 75, "try again later".

    Like KeyboardInterrupt it is no Exception: it ends a sweep, and no ``except Exception`` catches it by accident.
    """

    exit_code = 75


def check_number(key: str, value: object, expected: str, good: Callable[[float], bool]) -> None:
    """Raise UserError, which names ``key`` and what was ``expected``, unless ``value`` is a finite number and good."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (number and good(value)):  # type: ignore[arg-type]
        raise UserError(f"{key}: found {value!r}, expected {expected}")


def check_flag(key: str, value: object) -> None:
    """Raise UserError unless ``value`` is true or false: any other text would count as true."""
    if not isinstance(value, bool):
        raise UserError(f"{key}: found {value!r}, expected true or false")
