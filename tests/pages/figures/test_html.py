"""The page: self-contained, safe against the text it shows, written whole or not at all."""

import re
from pathlib import Path

import pytest

from skelssl.core.errors import UserError
from skelssl.pages.figures.html import Page, script_figure
from tests.helpers.page import figures

NASTY = '</script><script>alert("x")</script>'


def test_page_needs_no_network() -> None:
    page = Page("Title")
    page.add("One", "caption", script_figure("curves", [1, 2], "a label"))
    html = page.render()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", html)
    assert "http" not in html
    assert "url(" not in html
    assert "figures.curves =" in html
    assert "figures.player =" not in html  # only what is used


def test_text_cannot_become_markup() -> None:
    page = Page(NASTY, subtitle=NASTY)
    page.add(NASTY, NASTY, script_figure("curves", [NASTY], NASTY))
    html = page.render()
    assert html.count("<script") == html.count("</script>") == 2  # the data and the scripts
    assert figures(html, "curves") == [[NASTY]]


def test_data_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_figure("curves", [float("nan")], "label")


def test_write(tmp_path: Path) -> None:
    Page("Größe").write(tmp_path / "new folder" / "page.html")
    assert "Größe" in (tmp_path / "new folder" / "page.html").read_text("utf-8")
    assert [p.name for p in (tmp_path / "new folder").iterdir()] == ["page.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Page("x").write(tmp_path / "file" / "page.html")
