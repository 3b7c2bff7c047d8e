"""Assemble self-contained HTML pages: style, scripts and data are embedded, and nothing is fetched."""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path

from skelssl.core.files import atomic_file


class Page:
    """Sections under a title, written as one HTML file, in light or dark mode, for desktop or phone."""

    def __init__(self, title: str, *, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self.sections: list[tuple[str, str, str]] = []

    def add(self, title: str, caption: str, html: str) -> None:
        """Add a section. Title and caption are plain text, ``html`` comes from a function of this package."""
        self.sections.append((title, caption, html))

    def absent(self, title: str, reason: str, command: str = "") -> None:
        """Add a section without data: the reason, and the command that creates the data."""
        line = f"<p>{escape(reason)}</p>" + (f"<pre><code>{escape(command)}</code></pre>" if command else "")
        self.add(title, "", f'<div class="absent">{line}</div>')

    def render(self) -> str:
        """Return the HTML of the page."""
        body = "\n".join(_section(i, *section) for i, section in enumerate(self.sections))
        links = "".join(f'<a href="#s{i}">{escape(title)}</a>' for i, (title, _, _) in enumerate(self.sections))
        kinds = ["base", *sorted(set(re.findall(r'data-figure="(\w+)"', body)))]
        scripts = "\n".join(_asset(f"{kind}.js") for kind in kinds)
        head = (
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<link rel="icon" href="data:,"><title>{escape(self.title)}</title><style>{stylesheet()}</style>'
        )
        header = (
            '<header><button id="theme" title="light or dark" aria-label="light or dark">◐</button>'
            f"<h1>{escape(self.title)}</h1><p>{escape(self.subtitle)}</p></header>"
        )
        main = f'<nav>{links}</nav><main>{body}</main><div id="tip" role="status"></div>'
        page = f"<head>{head}</head><body>{header}{main}<script>\n{scripts}\nstart();\n</script></body>"
        return f'<!doctype html>\n<html lang="en">{page}</html>\n'

    def write(self, path: Path) -> None:
        """Write the page atomically; raise UserError where the file cannot be written."""
        with atomic_file(path, "w") as file:
            file.write(self.render())


def script_figure(kind: str, data: object, label: str) -> str:
    """Return an element that ``assets/<kind>.js`` draws into, with its data. Screen readers read ``label``."""
    # "<" is escaped so that no string in the data can close the script element
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        f'<div class="figure" data-figure="{kind}" role="group" aria-label="{escape(label)}">'
        f'<script type="application/json">{text}</script></div>'
    )


def stylesheet() -> str:
    """Return the CSS of every page."""
    return _asset("page.css")


def _section(i: int, title: str, caption: str, html: str) -> str:
    note = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    return f'<section id="s{i}"><h2>{escape(title)}</h2>{note}{html}</section>'


def _asset(name: str) -> str:
    return (files("skelssl.pages.figures") / "assets" / name).read_text("utf-8").strip()
