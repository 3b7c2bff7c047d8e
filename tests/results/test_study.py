"""Studies: which runs are their cells, what they swept, and that only what is missing runs."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from skelssl.cli.report import report_command
from skelssl.core.errors import UserError
from skelssl.core.identity import run_id
from skelssl.core.runs import run_folder
from skelssl.pages.report import collect
from skelssl.results.study import study_cells, swept_keys
from tests.helpers.config import TINY, TINY_DATA, compose, train_config
from tests.helpers.results import write_evaluation

STUDY = ("experiment=mask_ratio_demo", "debug=smoke", *TINY_DATA)


def test_swept_keys_are_those_that_differ_and_of_equal_columns_the_first() -> None:
    configs: list[dict[str, Any]] = [
        {"a": 1, "b": [1, 2], "horizon": 4, "optim.epochs": 4, "same": None},
        {"a": 1, "b": [1, 3], "horizon": 8, "optim.epochs": 8, "same": None, "only": 3},
    ]
    assert swept_keys(configs) == ["b", "horizon", "only"]
    assert swept_keys(configs[:1]) == []


def test_the_cells_of_a_study_are_the_runs_that_its_command_trains() -> None:
    expected = {
        run_id(compose("train", *STUDY, f"seed={seed}", f"method.csm.mask_joint={joints}")):
        f"seed={seed} method.csm.mask_joint={joints}"
        for seed, joints in product((0, 1), (4, 8, 12))
    }  # fmt: skip
    assert len(expected) == 6
    assert study_cells(STUDY) == expected
    narrowed = study_cells([*STUDY, "seed=1", "method.csm.mask_joint=4,5"])
    assert list(narrowed.values()) == ["method.csm.mask_joint=4", "method.csm.mask_joint=5"]
    assert next(iter(narrowed)) in expected


def test_the_published_cell_is_the_run_of_the_method_alone() -> None:
    study = study_cells(["experiment=mask_ratio", "seed=0"])
    assert study[run_id(compose("train"))] == "method.csm.mask_joint=8 method.matm.k_motion=10"
    units = {method: list(study_cells(["experiment=mask_ratio", f"method={method}", "seed=0"]).values())
             for method in ("mamp", "ha_cm", "skeleton2vec")}  # fmt: skip
    assert units["mamp"] == units["ha_cm"] == [f"method.masking.ratio={ratio}" for ratio in (0.8, 0.85, 0.9, 0.95)]
    assert "method.masking.ratio=0.9 method.masking.tube=5" in units["skeleton2vec"]
    contrast = study_cells(["experiment=mask_ratio", "method=skeleton_contrast", "seed=0"])
    assert [name.rpartition("=")[2] for name in contrast.values()] == ["5", "10", "15", "20"]
    assert run_id(compose("train", "method=skeleton_contrast")) in contrast


def write_cell(folder: Path, lr: float, seed: int, mask: object = 4, **facts: Any) -> None:
    method = {"name": facts.get("method", "pstl"), "lr": lr, "mask": mask}
    write_evaluation(folder / f"{lr}{mask}{seed}{method['name']}", config={"method": method}, seed=seed, **facts)


def test_columns_are_of_the_own_method_and_rows_follow_the_numbers(tmp_path: Path) -> None:
    for lr, seed in product((10.0, 9.0), (0, 1)):
        write_cell(tmp_path, lr, seed)
    write_cell(tmp_path, 1.0, 0, mask="x", method="mamp")
    write_cell(tmp_path, 1.0, 0, mask="y", method="mamp")
    plain = collect([tmp_path])
    assert "| run |" in plain.markdown()
    lines = collect([tmp_path], []).markdown().splitlines()
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
    assert "run" not in header
    shown = [(row[1], row[header.index("lr")], row[header.index("mask")], row[header.index("seeds")]) for row in rows]
    assert shown[1:] == [("mamp", "", "x", "0"), ("mamp", "", "y", "0"), ("pstl", "9.0", "", "0, 1"),
                         ("pstl", "10.0", "", "0, 1")]  # fmt: skip
    assert collect([tmp_path], []).json()[2]["swept"] == {"method.lr": 9.0}
    assert "swept" not in plain.json()[2]


def test_nothing_swept_is_one_sentence(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_cell(tmp_path, 1.0, seed)
    with pytest.raises(UserError, match="--study: found no runs of one method and dataset that differ in a key"):
        collect([tmp_path], [])
    with pytest.raises(UserError, match="--study: found none of its 6 cells, expected runs of experiment="):
        collect([tmp_path], STUDY)
    with pytest.raises(UserError, match="--svg: found no --study beside it"):
        report_command([str(tmp_path), f"--svg={tmp_path / 'x.svg'}"])


def test_the_cells_of_a_study_are_picked_and_the_missing_ones_named(tmp_path: Path) -> None:
    *there, (_, absent) = study_cells(STUDY).items()
    for name, cell in there:
        config = compose("train", *STUDY, *cell.split())
        write_evaluation(tmp_path / name, seed=config["seed"], config=config, dataset="synthetic")
    write_cell(tmp_path, 1.0, 0)
    table = collect([tmp_path], STUDY)
    assert [row.swept for row in table.rows] == [{"method.csm.mask_joint": joints} for joints in (4, 8, 12)]
    assert [row.seeds for row in table.rows] == [(0, 1), (0, 1), (0,)]
    assert absent == "seed=1 method.csm.mask_joint=12"
    assert f"Missing: 1 of 6 cells: {absent}." in table.markdown()


def sweep(place: Path, data_root: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "skelssl.train", "-m", *STUDY, *TINY, "callbacks.probe=null", "then=[knn]",
               f"data_root={data_root}", "hydra.sweep.dir=sweep", *arguments]  # fmt: skip
    return subprocess.Popen(
        command, cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(place: Path) -> set[str]:
    return {path.parent.name for path in place.glob("outputs/*/*/*/run.json")}


@pytest.mark.slow
def test_an_interrupted_study_goes_on_with_what_is_missing_whoever_launches_it(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    order = [str(run_folder(train_config(data_root, *STUDY, *cell.split()))) for cell in study_cells(STUDY).values()]
    process = sweep(tmp_path, data_root)
    deadline = time.monotonic() + 180
    while not finished(tmp_path) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode in (75, -signal.SIGTERM)  # within a step, or between two cells
    done = finished(tmp_path)
    assert 1 <= len(done) < 3, "it was stopped while the cells of the first seed ran"

    out, err = sweep(tmp_path, data_root, "launcher=joblib", "seed=0").communicate(timeout=300)
    first = {Path(folder).name for folder in order[:3]}
    assert finished(tmp_path) == first, out + err
    for folder in order[:3]:
        assert (f"{folder} is finished" in out) == (Path(folder).name in done)
        assert (f"36 clips -> {folder}" in out) == (Path(folder).name not in done)

    written = {folder: (tmp_path / folder / "run.json").stat().st_mtime_ns for folder in order[:3]}
    _, err = sweep(tmp_path, data_root, "launcher=submitit_local", "seed=1").communicate(timeout=300)
    assert finished(tmp_path) == {Path(folder).name for folder in order}, err
    assert written == {folder: (tmp_path / folder / "run.json").stat().st_mtime_ns for folder in order[:3]}

    report_command(
        [str(tmp_path / "outputs"), "--study", *STUDY, *(f"--{kind}={tmp_path / kind}" for kind in ("json", "svg"))]
    )
    rows = json.loads((tmp_path / "json").read_text())
    assert [(row["swept"], row["seeds"]) for row in rows] == [
        ({"method.csm.mask_joint": joints}, [0, 1]) for joints in (4, 8, 12)
    ]
    assert "accuracy over csm.mask_joint" in (tmp_path / "svg").read_text()
