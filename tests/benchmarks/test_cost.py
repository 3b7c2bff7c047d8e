"""The cost curve at toy size, its fit, and its figure; and the tables that a result becomes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from benchmarks import cost, tables
from benchmarks.suite import METHODS
from tests.benchmarks.conftest import Run

ROOT = Path(__file__).parents[2]


def test_the_exponent_of_a_power_law_with_a_constant() -> None:
    found = cost.fitted([(8, 1 + 64), (2, 1 + 4), (4, 1 + 16)])
    assert found["x"] == [2, 4, 8]
    assert found["range"][0] < found["exponent"] < found["range"][1] < 2
    assert found["exponent"] == pytest.approx(1.85, abs=0.01)


def test_every_axis_of_every_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, figure, threads = tmp_path / "cost.json", tmp_path / "cost.svg", torch.get_num_threads()
    try:
        assert cost.main(["--small", "--rounds", "1", "--threads", "1", "--out", str(out), "--svg", str(figure)]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(out.read_text())["cost"]
    assert list(found) == list(METHODS)
    for name, axes in found.items():
        assert list(axes) == [a for a in cost.AXES if (name, a) != ("skeleton_contrast", "visible share")]
        for curve in axes.values():
            assert len(curve["x"]) == len(set(curve["x"])) == 2
            assert min(curve["seconds"]) > 0
    assert capsys.readouterr().out.count("| `") == 19
    root = ET.parse(figure).getroot()
    titles = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if "over" in str(text.text)]
    assert titles == [f"Seconds of a step over {axis}" for axis in cost.AXES]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 2 * 19


def test_tables_go_where_a_document_wants_them(small: Run, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(small.result))
    marks = "<!-- tables: one.json, Linear evaluation -->\nold\n<!-- end of tables -->"
    doc = f"before\n{marks}\nbetween\n<!-- tables: none.json -->\n<!-- end of tables -->\nafter\n"
    new = tables.filled(doc, tmp_path)
    assert tables.filled(new, tmp_path) == new
    assert "old" not in new
    assert [line for line in new.splitlines() if line.startswith("### ")] == ["### Linear evaluation"]
    assert new.endswith("between\n<!-- tables: none.json -->\n<!-- end of tables -->\nafter\n")


def test_no_figure_of_the_docs_is_typed_by_hand() -> None:
    doc = (ROOT / "docs/speed.md").read_text("utf-8")
    assert len(tables.MARKS.findall(doc)) == doc.count("<!-- tables") == 4
    assert tables.filled(doc, ROOT) == doc
    assert all((ROOT / mark[1]).is_file() for mark in tables.MARKS.findall(doc))


def test_what_bounds_a_part() -> None:
    rates = {"flops": 100.0, "bytes": 10.0, "calls": 0.1}
    part = {"forward": {"flops": 50, "bytes": 2, "calls": 1, "seconds": 1.0},
            "backward": {"flops": 50, "bytes": 2, "calls": 1, "seconds": 1.0}}  # fmt: skip
    assert tables.needs(part, rates) == {"products": 0.5, "memory traffic": 0.2, "calls": 0.1}
    methods = {"m": {"seconds": {"ours": {"step": {"median": 2.0}}}, "parts": {"ours": {"decoder": part}}}}
    row = next(line for line in tables.remaining(methods, rates).splitlines() if "decoder" in line)
    assert row == "| `m` | decoder | 100.0% | 1e-07 | 50% | 20% | 10% | products |"


def test_tables_of_compiled_steps_operations_and_memory() -> None:
    spread = {"median": 2.0, "q1": 1.0, "q3": 3.0}
    both = {form: {"step": spread} for form in tables.FORMS}
    one = {"batch": 4, "seconds": both, "memory": {"straightforward": {"step": 2**31, "loss": 2**21},
                                                   "ours": {"step": 2**30, "loss": 2**20}},
           "compiled": {form: {"first_step": first, "seconds": {"step": spread}}
                        for form, first in zip(tables.FORMS, (9, 8), strict=True)},
           "operations": {"ours": [{"name": "gemm", "share": 0.25, "seconds": 1.5, "calls": 3},
                                   {"name": "add", "share": 0.1, "seconds": 0.6, "calls": 9}]}}  # fmt: skip
    assert "| `m` | 4 | 2.00 GiB | 1.00 GiB | 0.50 | 2.0 MiB | 1.0 MiB | 0.50 |" in tables.memory({"m": one})
    assert "| `m` | 4 | 2 s | 2 s | 2 s | 2 s | 1.00x | 9 s | 8 s |" in tables.compiled({"m": one})
    assert "| `m` | gemm 25%, add 10% |" in tables.operations({"m": one})
    assert "2 s (1 s to 3 s)" in tables.steps({"m": one})
