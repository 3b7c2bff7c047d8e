"""Two folders side by side: what is paired with what, and by which clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from skelssl.cli.report import report_command
from skelssl.core.errors import UserError
from skelssl.results.compare import compare
from skelssl.results.read import find_results
from skelssl.results.statistics import paired_difference
from tests.helpers.results import write_evaluation

NAMES = [f"clip{i:02d}" for i in range(40)]


def sides(tmp_path: Path) -> tuple[list[object], list[object]]:
    a, b = ([*find_results([tmp_path / side])] for side in "ab")
    return a, b  # type: ignore[return-value]


def test_clips_are_paired_by_name_over_the_seeds_of_each_side(tmp_path: Path) -> None:
    """Three seeds of 40 clips in different orders against two seeds, one of whose clips the first side has not."""
    rng = np.random.default_rng(0)
    right = rng.random((5, 40)) < np.array([0.8] * 3 + [0.5] * 2)[:, None]
    for i in range(5):
        side, order = "aaabb"[i], rng.permutation(40)
        # The label follows from the place in the file, so both sides keep names and labels together.
        names = [NAMES[4 * (j // 4) + k % 4] for k, j in enumerate(sorted(order))]
        own = right[i, [NAMES.index(name) for name in names]]
        if side == "b":
            names = [*names[:-4], "other0", "other1", "other2", "other3"]
        write_evaluation(tmp_path / side / f"run{i}", seed=i, correct=own, random=own, names=names,
                         method="mamp" if side == "b" else "pstl")  # fmt: skip
    (pair,) = compare(*sides(tmp_path)).pairs  # type: ignore[arg-type]
    assert (pair.a.method, pair.b.method, pair.seeds) == ("pstl", "mamp", (3, 2))
    assert (pair.clips, pair.left_out) == (36, 8)
    assert pair.difference == paired_difference(right[:3, :36], right[3:, :36])
    assert pair.top1 == pytest.approx((right[:3, :36].mean(), right[3:, :36].mean()))


def test_the_closest_cells_are_paired(tmp_path: Path) -> None:
    for protocol, mode, setting in [("linear", "paper", None), ("linear", "clean", None), ("knn", "paper", None)]:
        write_evaluation(tmp_path / "a" / f"{protocol}{mode}", protocol=protocol, mode=mode, setting=setting)
    for protocol, mode, setting in [
        ("linear", "clean", "graph"),
        ("linear", "paper", "graph"),
        ("semi", "paper", "1%"),
    ]:
        write_evaluation(tmp_path / "b" / f"{protocol}{mode}", protocol=protocol, mode=mode, setting=setting)
    pairs = compare(*sides(tmp_path)).pairs  # type: ignore[arg-type]
    assert [(p.a.protocol, p.a.mode, p.b.mode, p.b.setting) for p in pairs] == [
        ("linear", "clean", "clean", "graph"),
        ("linear", "paper", "paper", "graph"),
    ]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_evaluation(tmp_path / "a")
    write_evaluation(tmp_path / "b", correct=np.array([True, False, False, False]))
    files = {form: tmp_path / f"x.{form}" for form in ("markdown", "json")}
    report_command([str(tmp_path / "a"), str(tmp_path / "b"), "--compare", *(f"--{f}={p}" for f, p in files.items())])
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if " linear " in line)
    assert " 75.0 " in line
    assert " 25.0 " in line
    assert "+50.0 [" in line
    assert "| 75.0 | 25.0 | +50.0 [" in files["markdown"].read_text()
    (pair,) = json.loads(files["json"].read_text())
    assert pair["a"]["protocol"] == "linear"
    assert pair["difference"]["mean"] == 0.5


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a" / "x")
    write_evaluation(tmp_path / "b" / "x", protocol="knn")
    with pytest.raises(UserError, match="found linear on ntu60_xview and knn on ntu60_xview, expected a protocol"):
        compare(*sides(tmp_path))  # type: ignore[arg-type]
    write_evaluation(tmp_path / "b" / "other", names=["p", "q", "r", "s"])
    with pytest.raises(UserError, match=r"found no test clip of .*, expected the same test clips"):
        compare(*sides(tmp_path))  # type: ignore[arg-type]
    write_evaluation(tmp_path / "a" / "long", config={"epochs": 9})
    with pytest.raises(UserError, match="found 2 configurations of linear on ntu60_xview"):
        compare(*sides(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--compare: found 1 folders, expected two"):
        report_command([str(tmp_path / "a"), "--compare"])


def test_other_labels_and_missing_scores_are_named(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a" / "x")
    folder = write_evaluation(tmp_path / "b" / "x", names=["clip1", "clip0", "clip2", "clip3"])
    with pytest.raises(UserError, match="found another label of clip0"):
        compare(*sides(tmp_path))  # type: ignore[arg-type]
    (folder / "scores.npz").unlink()
    with pytest.raises(UserError, match=r"found no scores\.npz"):
        compare(*sides(tmp_path))  # type: ignore[arg-type]
