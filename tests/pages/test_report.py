"""The report command: table, files, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from skelssl.cli.report import report_command
from skelssl.core.errors import UserError
from skelssl.pages.report import collect
from tests.helpers.config import train_config
from tests.helpers.results import as_published, write_evaluation
from tests.helpers.runs import untrained_run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_evaluation(tmp_path / "runs" / "a", top1_best_epoch=0.8, mean_class_accuracy=0.5, **as_published())
    write_evaluation(tmp_path / "runs" / "a2", dataset="synthetic_xsub", protocol="knn")
    return tmp_path / "runs"


def test_prints_ours_beside_published(tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    report_command([str(tree)])
    out = capsys.readouterr().out
    linear = next(line for line in out.splitlines() if " linear " in line and "ntu60_xview" in line)
    for text in ("75.0", "80.0", "50.0 ", "25.0", "+50.0 [25.0, 75.0]", "81.8 (second hand)", "-6.8"):
        assert text in linear
    knn = next(line for line in out.splitlines() if " knn " in line)
    assert "second hand" not in knn  # nobody published this cell
    assert "pstl ntu60_xview linear joint 81.8 (second hand): DiMoP, Table I." in out


def test_writes_only_what_is_asked_for(tree: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    report_command([str(tree)])
    assert set(tmp_path.rglob("*")) == before
    forms = {form: tmp_path / f"report.{form}" for form in ("markdown", "json", "html")}
    report_command([str(tree), *(f"--{form}={path}" for form, path in forms.items())])
    lines = forms["markdown"].read_text().splitlines()
    assert lines[0].startswith("| method | dataset | protocol | mode | stream | seeds | last epoch |")
    assert lines[2].count("|") == lines[0].count("|") == lines[1].count("|")
    assert "81.8 (second hand)" in lines[2]
    first, second = json.loads(forms["json"].read_text())
    assert first["top1"] == {"mean": 0.75, "sd": None, "low": None, "high": None}
    assert first["gap"] == pytest.approx(-6.8)
    assert first["mean_class_accuracy"]["mean"] == 0.5
    assert second["gap"] is None
    assert first["published"] == [{"value": 81.8, "status": "second_hand", "source": "DiMoP, Table I"}]
    assert second["published"] == []
    assert 'style="left:81.8%"' in forms["html"].read_text()


def test_a_reduced_run_has_no_gap_and_the_notes_say_why(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "run", **as_published("method.optim.epochs=6"))
    table = collect([tmp_path])
    assert "| gap |" not in table.markdown()
    assert "81.8 (second hand)" in table.markdown()
    assert "No gap for pstl ntu60_xview linear: not as published in method.optim.epochs." in table.markdown()
    assert (table.json()[0]["gap"], table.json()[0]["departures"]) == (None, ["method.optim.epochs"])


def test_several_seeds_show_mean_and_deviation(tmp_path: Path) -> None:
    for seed, right in enumerate([2, 3, 4]):
        write_evaluation(tmp_path / f"r{seed}", seed=seed, correct=np.arange(4) < right)
    text = collect([tmp_path]).markdown()
    assert "| 0, 1, 2 | 75.0 ± 25.0 |" in text


def test_run_column_tells_equal_cells_apart(tmp_path: Path) -> None:
    for name, epochs in (("first", 1), ("other", 2)):
        write_evaluation(tmp_path / name, config={"epochs": epochs})
    assert "| first |" in collect([tmp_path]).markdown()


@pytest.mark.parametrize("argv", [[], ["--markdown"], ["x", "--colour"]])
def test_bad_arguments_are_one_sentence(argv: list[str]) -> None:
    with pytest.raises(UserError, match=r"^report: .*expected FOLDER"):
        report_command(argv)


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no result.json"):
        report_command([str(tmp_path)])


def test_a_run_without_results_has_a_page_and_no_table(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained_run(tmp_path / "run", train_config(data_root, "method=pstl"), evaluated=False)
    report_command([str(run), "--html", str(tmp_path / "page.html")])
    assert "has no evaluation yet" in capsys.readouterr().out
    assert f"skelssl.evaluate protocol=linear checkpoint={run}" in (tmp_path / "page.html").read_text("utf-8")
    for more in ([], ["--html", str(tmp_path / "page.html"), "--json", str(tmp_path / "rows.json")]):
        with pytest.raises(UserError, match=r"found no result.json below it"):
            report_command([str(run), *more])
