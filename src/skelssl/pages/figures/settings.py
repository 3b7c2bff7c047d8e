"""Draw a configuration: a collapsed table for every block."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from skelssl.pages.figures.counts import fact_table


def settings_tables(config: Mapping[str, Any]) -> str:
    """Return dotted keys and values block by block, keys of the top level first."""
    plain = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    blocks = {"top level": plain} | {key: value for key, value in config.items() if isinstance(value, Mapping)}
    return "".join(_block(name, block) for name, block in blocks.items() if block)


def _block(name: str, block: Mapping[str, Any]) -> str:
    rows = _flat(block, "" if name == "top level" else f"{name}.")
    return f"<details><summary>{escape(name)}, {len(rows)} settings</summary>{fact_table(rows)}</details>"


def _flat(value: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, own in value.items():
        rows += _flat(own, f"{prefix}{key}.") if isinstance(own, Mapping) and own else [(f"{prefix}{key}", _text(own))]
    return rows


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
