"""Stored results and metrics: each is read once, and a missing or malformed file is named."""

import json
from pathlib import Path

import pytest

from skelssl.core.errors import UserError
from skelssl.results.read import find_results, read_metrics
from tests.helpers.results import write_evaluation


def test_overlapping_folders_count_once(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "run")
    assert len(find_results([tmp_path, tmp_path / "run", tmp_path / "run" / "eval"])) == 1


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: found no such folder"):
        find_results([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"found no result.json"):
        find_results([tmp_path])
    folder = write_evaluation(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    del result["top1"]
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"result.json: found no top1, expected"):
        find_results([tmp_path])


def test_metrics_leave_empty_cells_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,probe/knn/top1\n0,1,2.5,\n0,2,,0.5\n")
    assert read_metrics(path) == [
        {"epoch": 0, "step": 1, "train/loss": 2.5},
        {"epoch": 0, "step": 2, "probe/knn/top1": 0.5},
    ]
    path.write_text("epoch,step\n0,many\n")
    with pytest.raises(UserError, match="many"):
        read_metrics(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_metrics(tmp_path / "absent.csv")
