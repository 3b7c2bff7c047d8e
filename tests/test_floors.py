"""The floor plan of ``docs/architecture.md`` holds: imports point down, and rooms stay of a size to be surveyed."""

from __future__ import annotations

import ast

from tools.floors import PACKAGE, circle, imports, main, wrong_arrows


def test_imports_point_down_and_never_in_a_circle(capsys):
    assert main() == 0
    out = capsys.readouterr().out
    assert "no arrow points up" in out
    assert "no circle" in out


def test_the_check_finds_what_it_looks_for(tmp_path):
    package = tmp_path / "skelssl"
    for name, text in {"core/a.py": "from skelssl.pages.b import x", "pages/b.py": "import skelssl.pages.c",
                       "pages/c.py": "def f():\n    from skelssl.pages import b", "attic.py": ""}.items():  # fmt: skip
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    graph = imports(package)
    assert wrong_arrows(graph) == ["attic: on no floor", "core.a -> pages.b"]
    assert sorted(set(circle(graph))) == ["pages.b", "pages.c"]


def test_sizes():
    top = [path for path in PACKAGE.iterdir() if path.suffix == ".py" and not path.stem.startswith("__")]
    assert len(top) <= 9
    assert sum((path / "__init__.py").exists() for path in PACKAGE.iterdir() if path.is_dir()) <= 16
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text("utf-8")
        assert len(text.splitlines()) <= 300, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 45, f"{file}: {node.name}"
