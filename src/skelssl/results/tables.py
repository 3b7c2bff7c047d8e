"""Render tables of text cells with notes below them, for the console and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

WORDS = {"method", "dataset", "protocol", "mode", "setting", "stream", "run"}  # left-aligned columns


def rich_table(rows: Sequence[Mapping[str, str]], notes: Sequence[str]) -> Table:
    """Return a table for the console; the keys of the first row are the header."""
    table = Table(box=box.SIMPLE_HEAD, caption="\n".join(notes), caption_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if name in WORDS else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row.values()))
    return table


def markdown_table(rows: Sequence[Mapping[str, str]], notes: Sequence[str]) -> str:
    """Return a pipe table and its notes."""
    lines = [list(rows[0]), ["---" if name in WORDS else "--:" for name in rows[0]], *(row.values() for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([table, *notes]) + "\n"
