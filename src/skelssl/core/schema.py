"""Build a frozen dataclass from a block of the configuration, and name the first key that is wrong.

The type hint of a field says what its key may hold: ``bool``, ``int``, ``float``, ``str``, a ``Literal`` of words, one
of them or null (``float | None``), or a list (``tuple[int, ...]``, ``tuple[float, float]``). ``Annotated[float,
at_least(0)]`` adds a range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from skelssl.core.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """A condition on a value of the right type, and its words for an error message."""

    expected: str
    holds: Callable[[Any], bool]


def at_least(low: float) -> Range:
    """Accept numbers from ``low`` on."""
    return Range(f"at least {low}", lambda value: value >= low)


def above(low: float, *, up_to: float | None = None) -> Range:
    """Accept numbers above ``low``, and at most ``up_to``."""
    words = f"above {low}" + (f" and up to {up_to}" if up_to is not None else "")
    return Range(words, lambda value: value > low and (up_to is None or value <= up_to))


def between(low: float, high: float) -> Range:
    """Accept numbers from ``low`` to ``high``."""
    return Range(f"a number from {low} to {high}", lambda value: low <= value <= high)


BELOW_1 = Range("at least 0 and below 1", lambda value: 0 <= value < 1)


def expect(key: str, found: object, ok: bool, expected: str) -> None:
    """Raise UserError ``KEY: found X, expected Y`` unless ``ok``."""
    if not ok:
        raise UserError(f"{key}: found {found!r}, expected {expected}")


def read_block(cls: type[T], block: Mapping[str, Any], where: str) -> T:
    """Build ``cls`` from a block of the configuration.

    Args:
        cls: A dataclass whose fields are the keys of the block.
        block: Plain values by key; lists become tuples.
        where: The dotted key of the block, for error messages.

    Raises:
        UserError: For an unknown key, a missing key, a value of another type and a number out of its range.
    """
    kinds = _kinds(cls)
    for key in block:
        if key not in kinds:
            raise UserError(f"{where}.{key}: found an unknown key, expected one of {', '.join(kinds)}")
    for key, kind in kinds.items():
        if kind.required and key not in block:
            raise UserError(f"{where}.{key}: found no such key, expected {kind.expected}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in block.items()}
    for key, value in values.items():
        kinds[key].check(f"{where}.{key}", value, block[key])
    return cls(**values)


def check_fields(instance: object, where: str) -> None:
    """Raise UserError for the first field of a dataclass instance whose value has another type or range."""
    for key, kind in _kinds(type(instance)).items():
        value = getattr(instance, key)
        kind.check(f"{where}.{key}", value, value)


class _Kind(NamedTuple):
    expected: str
    accepts: Callable[[Any], bool]
    range: Range | None = None
    required: bool = False

    def check(self, key: str, value: Any, found: Any) -> None:
        expect(key, found, self.accepts(value), self.expected)
        if self.range is not None and value is not None:
            expect(key, value, self.range.holds(value), self.range.expected)


def _kinds(cls: type) -> dict[str, _Kind]:
    hints = get_type_hints(cls, include_extras=True)
    return {
        field.name: _kind(hints[field.name])._replace(
            required=field.default is MISSING and field.default_factory is MISSING
        )
        for field in fields(cls)
    }


def _kind(hint: Any) -> _Kind:
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return _kind(arguments[0])._replace(range=arguments[1])
    if get_origin(hint) is Literal:
        return _Kind(f"one of {', '.join(arguments)}", lambda value: value in arguments)
    if get_origin(hint) is UnionType:  # X | None
        inner = _kind(arguments[0])
        return _Kind(f"{inner.expected} or null", lambda value: value is None or inner.accepts(value), inner.range)
    if get_origin(hint) is tuple:
        return _list_kind(arguments)
    return _KINDS[hint]


def _list_kind(arguments: Sequence[Any]) -> _Kind:
    item, length = _kind(arguments[0]), None if arguments[-1] is ... else len(arguments)
    words = _PLURALS[arguments[0]]
    return _Kind(
        f"a list of {words}" if length is None else f"a list of {length} {words}",
        lambda value: isinstance(value, tuple) and length in (None, len(value)) and all(map(item.accepts, value)),
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_KINDS = {
    bool: _Kind("true or false", lambda value: isinstance(value, bool)),
    int: _Kind("a whole number", _is_whole),
    float: _Kind("a number", lambda value: _is_whole(value) or isinstance(value, float)),
    str: _Kind("a word", lambda value: isinstance(value, str)),
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "names"}
