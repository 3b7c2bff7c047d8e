"""Read the axes of a search, a tree of ranges and choices in a configuration, into optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from skelssl.core.errors import UserError
from skelssl.core.identity import MACHINE_KEYS

# Keys that change how a run is judged, not how good it is. A search over seeds would only pick a lucky one.
FIXED = (*MACHINE_KEYS, "seed", "dataset", "resume", "stream", "method.monitor", "method.probe", "method.recipe")
EXPECTED = "{low, high} with log or step where wanted, or a list of choices"


def axes(space: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Return dotted key -> distribution; raise UserError, which names the axis, for anything but `EXPECTED`."""
    found = _axes(space, "")
    if not found:
        raise UserError(f"tune.space: found no axis, expected leaves of the form {EXPECTED}")
    for key in found:
        if any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED):
            raise UserError(
                f"tune.space.{key}: found a key that no search may choose, expected a setting of the method"
            )
    return found


def _axes(node: Any, key: str) -> dict[str, BaseDistribution]:
    if not isinstance(node, Mapping | list):
        raise UserError(f"{f'tune.space.{key}'.rstrip('.')}: found {node!r}, expected {EXPECTED}")
    if isinstance(node, Mapping) and not {"low", "high"} & node.keys():
        parts = [_axes(child, f"{key}.{name}".lstrip(".")) for name, child in node.items()]
        return {name: axis for part in parts for name, axis in part.items()}
    try:
        return {key: _axis(node)}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"tune.space.{key}: found {node} ({error}), expected {EXPECTED}") from error


def _axis(node: Any) -> BaseDistribution:
    """Return the distribution of a leaf; whole numbers at both ends make a range of whole numbers."""
    if isinstance(node, list):
        if strange := [choice for choice in node if not isinstance(choice, bool | int | float | str | None)]:
            raise ValueError(f"a choice is {strange[0]!r}")
        return CategoricalDistribution(node)  # raises ValueError for none
    if unknown := node.keys() - {"low", "high", "log", "step"}:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    low, high = node["low"], node["high"]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in (low, high)):
        raise ValueError("an end is no number")
    more = {name: node[name] for name in ("log", "step") if node.get(name) is not None}
    whole = isinstance(low, int) and isinstance(high, int)
    return IntDistribution(low, high, **more) if whole else FloatDistribution(low, high, **more)
