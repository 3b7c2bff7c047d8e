"""What ends a command early, each with its exit code."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake the user can mend: one sentence naming the key or file, what was found and what was expected.

    It is a ValueError, so that code which calls the library needs to know no exception of ours.

    ``skelssl.entry`` prints the sentence and exits with code 2; library code never exits by itself.
    """

    exit_code = 2


class RankError(Exception):
    """A process of a run was killed or failed: one sentence; exit code 1. The same command goes on with the run."""

    exit_code = 1


class Stopped(BaseException):
    """A signal ended the run, and the run saved itself: one sentence; exit code 75, "try again later".

    Like KeyboardInterrupt it is no Exception: it ends a sweep, and nothing catches it by accident.
    """

    exit_code = 75
