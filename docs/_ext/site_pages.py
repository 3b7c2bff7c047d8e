"""What the site makes of the package itself: the configuration and API pages, and tables of published numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import api_pages
import config_pages
import published_tables
from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SECTIONS = {"Args:": "Arguments", "Returns:": "Returns", "Raises:": "Raises", "Yields:": "Yields"}


class PublishedNumbers(SphinxDirective):
    """```{published} METHOD``` becomes the table of that method's published accuracies."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        lines = published_tables.table(self.arguments[0]).splitlines()
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.get_source_info()[0]), self.content_offset, node)
        return [node]


def write_pages(app: Sphinx) -> None:
    """Writes ``generated/``, afresh: the pages of modules and configurations that are gone go with it."""
    folder = Path(app.srcdir) / "generated"
    pages = {"configuration.md": config_pages.page(), **api_pages.pages()}
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:  # an equal page need not be read again
            path.write_text(text, "utf-8")


def as_rest(lines: list[str]) -> list[str]:
    """Our docstrings are prose with ``code``; this makes reST of them that says what they say.

    Sections such as ``Args:`` become lists, a table a literal block, and signs that reST would take for its own are
    escaped.
    """
    found: list[str] = []
    listed = False
    for line in lines:
        listed = listed and (not line.strip() or line.startswith("    "))
        if title := SECTIONS.get(line):
            found += ["", f"**{title}**", ""]
            listed = True
        elif listed and line.strip():
            deeper, words = line.startswith("     "), _escaped(line.strip())
            found.append(f"  {words}" if deeper else f"* {words}")
        elif line.lstrip().startswith("|"):
            found += ([] if found and found[-1].startswith("    |") else ["", "::", ""]) + [f"    {line.strip()}"]
        else:
            found += [""] if found and found[-1].startswith("    |") else []  # a literal block ends with a blank line
            found.append(line if line.lstrip().startswith(">>>") else _escaped(line))
    return found


def _escaped(line: str) -> str:
    """``*`` and ``|`` outside of code, a bullet's own aside."""
    bullet = re.match(r"\s*\* ", line)
    start = bullet.end() if bullet else 0
    parts = re.split(r"(``.*?``|:\w+:`.*?`)", line[start:])
    return line[:start] + "".join(p if i % 2 else re.sub(r"([*|])", r"\\\1", p) for i, p in enumerate(parts))


def plain_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Autodoc's hook."""
    lines[:] = as_rest(lines)


def mathml(writer: Any, node: nodes.math | nodes.math_block) -> None:
    """Equations as MathML, which browsers set by themselves: no page needs a network."""
    text, inline = node.astext(), isinstance(node, nodes.math)
    found = tex2mathml(text, as_block=not inline)
    writer.body.append(found if inline else f'<div style="margin: 1em 0">{found}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers everything with Sphinx."""
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.add_directive("published", PublishedNumbers)
    return {"parallel_read_safe": True}
