"""Every snippet of docs/python.md and of the README runs, one after the other, in an empty folder."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE, README = ROOT / "docs" / "python.md", ROOT / "README.md"


def snippets_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_every_snippet_runs(tmp_path, monkeypatch):
    if not PAGE.exists():
        pytest.skip("docs are no part of the package")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SKELSSL_DATA", raising=False)
    snippets = snippets_of(PAGE)
    assert len(snippets) >= 7
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the flat clips, which the page speaks of
        for number, snippet in enumerate(snippets):
            exec(compile(snippet, f"{PAGE.name} snippet {number}", "exec"), names)
    assert names["features"].shape == (2, 32)  # type: ignore[attr-defined]
    assert names["walk"].shape == (1, 32)  # type: ignore[attr-defined]
    assert (tmp_path / "export" / "MODEL_CARD.md").exists()
    assert (tmp_path / "index.npz").exists()


def test_the_snippet_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SKELSSL_DATA", raising=False)
    (snippet,) = snippets_of(README)
    names: dict[str, object] = {}
    exec(compile(snippet, README.name, "exec"), names)
    assert names["features"].shape == (1, 32)  # type: ignore[attr-defined]
