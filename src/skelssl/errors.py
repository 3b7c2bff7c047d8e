"""The one exception a user may see."""

from __future__ import annotations

import math
from collections.abc import Callable


class UserError(ValueError):
    """A mistake the user can mend: one sentence naming the key or file, what was found and what was expected.

    It is a ValueError, so that code which calls the library needs to know no exception of ours.

    ``skelssl.entry`` prints the sentence and exits with code 2; library code never exits by itself.
    """


def check_number(key: str, value: object, expected: str, good: Callable[[float], bool]) -> None:
    """Raises UserError, which names ``key`` and what was ``expected``, unless ``value`` is a finite number and good."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (number and good(value)):  # type: ignore[arg-type]
        raise UserError(f"{key}: found {value!r}, expected {expected}")


def check_flag(key: str, value: object) -> None:
    """Raises UserError unless ``value`` is true or false: any other text would count as true."""
    if not isinstance(value, bool):
        raise UserError(f"{key}: found {value!r}, expected true or false")
