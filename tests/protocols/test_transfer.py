"""Transfer to another dataset as a user runs it, and the knobs and suites of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.core.files import read_json, write_json
from skelssl.protocols.bench import evaluate
from skelssl.protocols.plan import plan_tasks, read_protocols, result_setting
from skelssl.results.published import targets
from skelssl.training.afterwards import evaluate_run
from skelssl.training.loop import train
from tests.helpers.config import TINY_DATA, compose, train_config


@pytest.fixture(scope="module")
def run(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(train_config(data_root, "callbacks.probe=null"), folder)
    return folder


def ask(data_root: Path, run: Path, *overrides: str, protocol: str = "transfer") -> list[dict[str, Any]]:
    place = (f"protocol={protocol}", f"checkpoint='{run}'", f"data_root='{data_root}'", "limit.epochs=1")
    config = compose("evaluate", *place, *overrides)
    return [done.result for done in evaluate(config, [config["protocol"]])]


TARGET = ("dataset=synthetic_xview", "dataset.source.classes=5", "dataset.source.subjects=4")


def test_the_target_brings_classes_of_its_own(run: Path, data_root: Path) -> None:
    (result,) = ask(data_root, run, *TARGET)
    assert (result["dataset"], result["n_train"], result["labels_used"]) == ("synthetic_xview", 40, 40)
    assert result["setting"] == "synthetic, 1 probe epochs"  # where the encoder comes from
    assert result["random_init_top1"] is None
    folder = next(p.parent for p in run.glob("eval/transfer/*/result.json"))
    assert np.load(folder / "scores.npz")["logits"].shape == (20, 5)
    assert result["recipe"]["lr"] == read_json(run / "encoder" / "config.json")["probe"]["finetune"]["lr"]


def test_a_published_cell_stands_beside_a_transfer_from_its_own_source() -> None:
    config = compose("evaluate", "protocol=transfer", "checkpoint=x")
    about = {"dataset": "ntu60_xsub", "probe": {}}
    assert result_setting(config, about, {}, "pku2_xsub") == "ntu60_xsub"
    assert result_setting(config, about, {}, "ntu60_xsub") is None
    assert not targets("mamp", "pku2_xsub", "transfer", "joint", "ntu60_xsub")  # recalled only, so no target yet


def test_the_same_dataset_is_no_transfer(run: Path, data_root: Path) -> None:
    for place in ((), ("dataset=synthetic", *TINY_DATA)):
        with pytest.raises(UserError, match="dataset: found synthetic, which the encoder was pre-trained on"):
            ask(data_root, run, *place)


def test_the_published_recipe_is_the_papers_transfer_else_its_fine_tuning() -> None:
    config = compose("evaluate", "protocol=transfer", "checkpoint=x")
    for method, batch in (("skeleton2vec", 24), ("mamp", 48), ("skeleton_contrast", 64)):
        about = {"probe": compose("train", f"method={method}")["method"]["probe"], "dataset": "ntu60_xsub"}
        (task,) = plan_tasks(config, [config["protocol"]], about)
        assert task.recipe["batch"] == batch
        (task,) = plan_tasks({**config, "mode": "clean"}, [config["protocol"]], about)
        assert task.recipe == config["protocol"]["recipe"]


def test_another_split_of_the_same_set_says_where_the_encoder_comes_from(run: Path, data_root: Path) -> None:
    (result,) = ask(data_root, run, "dataset=synthetic_xview", *TINY_DATA, protocol="knn")
    assert result["setting"] == "synthetic, 1 probe epochs"


def test_k_and_temperature_from_the_command_line(run: Path, data_root: Path) -> None:
    usual, other = (
        ask(data_root, run, protocol="knn")[0],
        ask(data_root, run, "k=7", "temperature=0.1", protocol="knn")[0],
    )
    assert (usual["recipe"], other["recipe"]) == ({"k": 1, "temperature": None}, {"k": 7, "temperature": 0.1})
    assert other["setting"] == "k 7, temperature 0.1, 1 probe epochs"
    (lost,) = ask(data_root, run, "k=3", "protocol.of=knn", "limit.clips=2", protocol="lost_joints")
    assert lost["recipe"]["of"]["recipe"]["k"] == 3
    assert lost["setting"] == "10 joints lost (drop, in training and test, knn), k 3, 2 clips a class, 1 probe epochs"
    with pytest.raises(UserError, match="k: found 3, expected null: there is no k in linear"):
        ask(data_root, run, "k=3", protocol="linear")
    with pytest.raises(UserError, match=r"weights: found .* there is no weights in knn"):
        ask(data_root, run, "weights=[1,2]", protocol="knn")
    with pytest.raises(UserError, match=r"representation: found \['seq'\], expected one name"):
        ask(data_root, run, "representation=[seq]", protocol="knn")
    with pytest.raises(UserError, match=r"probe\.knn\.k: found 'many', expected a whole number of 1 to 36"):
        ask(data_root, run, "k=many", protocol="knn")


def test_a_suite_is_what_the_paper_reports(run: Path, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(data_root, run, "limit.clips=2", protocol="suite")
    expected = ["linear", "finetune", "lost_joints", "semi"]
    assert [r["protocol"] for r in found] == expected
    lines = [line for line in capsys.readouterr().out.splitlines() if "top-1" in line and "epoch 1/1" not in line]
    assert [line.split()[0] for line in lines] == expected
    own = ask(data_root, run, "limit.clips=2", "protocol.suite=[knn,cluster]", protocol="suite")
    assert [r["protocol"] for r in own] == ["knn", "cluster"]
    assert ask(data_root, run, "limit.clips=2", protocol="linear")[0] == found[0]  # read, not run again


def test_suites_of_the_methods() -> None:
    config = compose("evaluate", "protocol=suite", "checkpoint=x")
    expected = {
        "mamp": ["linear", "finetune", "semi 0.01", "semi 0.1"],
        "skeleton_contrast": ["linear", "retrieval", "semi 0.01", "semi 0.05", "semi 0.1", "semi 0.2"],
    }
    for method, names in expected.items():
        about = {"probe": compose("train", f"method={method}")["method"]["probe"]}
        found = plan_tasks(config, [config["protocol"]], about)
        assert [f"{t.protocol['name']} {t.recipe.get('ratio', '')}".strip() for t in found] == names
    bare = plan_tasks(config, [config["protocol"]], {"probe": {}})
    assert [task.protocol["name"] for task in bare] == ["linear", "knn"]


def test_a_suite_after_a_training(run: Path, data_root: Path) -> None:
    evaluate_run(run, read_protocols("suite"), train_config(data_root))
    assert list(run.glob("eval/lost_joints/*/result.json"))


@pytest.mark.parametrize("name", ["fusion", "transfer"])
def test_what_needs_more_than_one_run_is_refused_in_then_and_in_a_suite(name: str) -> None:
    for key in ("then", "suite"):
        with pytest.raises(UserError, match=f"{key}: found {name}, expected protocols of one run on its own data"):
            read_protocols([name], key)


def edited(run: Path, place: Path, **changes: Any) -> Path:
    """A copy of the run's encoder with another ``config.json``."""
    about = read_json(run / "encoder" / "config.json")
    (place / "encoder").mkdir(parents=True)
    (place / "encoder" / "encoder.safetensors").write_bytes((run / "encoder" / "encoder.safetensors").read_bytes())
    write_json(place / "encoder" / "config.json", {k: v for k, v in (about | changes).items() if v is not ...})
    return place


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "found format 2, expected 1"),
        ({"encoder": ...}, "encoder: found None, expected what skelssl writes there"),
        ({"view": 3}, "view: found 3, expected what skelssl writes there"),
        ({"view": {"test": {}}}, "view.probe: found None, expected the view of that name"),
        ({"seed": "x"}, "seed: found 'x', expected what skelssl writes there"),
        ({"dataset": ...}, "dataset: found nothing, expected what skelssl writes there"),
        (
            {"layout": "kinect20"},
            "dataset: found synthetic of layout ntu25, expected kinect20, the layout of the encoder",
        ),
    ],
)
def test_a_malformed_checkpoint(
    changes: dict[str, Any], sentence: str, run: Path, data_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        ask(data_root, edited(run, tmp_path / "bad", **changes), "dataset=synthetic", *TINY_DATA, protocol="knn")


def test_a_foreign_file(run: Path, data_root: Path, tmp_path: Path) -> None:
    place = ("dataset=synthetic", *TINY_DATA)
    (tmp_path / "x.pt").write_text("none")
    with pytest.raises(UserError, match=r"found no encoder there, expected a finished run, or source=NAME"):
        ask(data_root, tmp_path / "x.pt", *place, protocol="knn")
    with pytest.raises(UserError, match=r"cannot be read as a torch checkpoint \(it is none, or holds more than"):
        ask(data_root, tmp_path / "x.pt", *place, "source=pstl", protocol="knn")
    broken = edited(run, tmp_path / "cut")
    whole = (broken / "encoder" / "encoder.safetensors").read_bytes()
    (broken / "encoder" / "encoder.safetensors").write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"encoder\.safetensors: cannot be read"):
        ask(data_root, broken, *place, protocol="knn")


def test_a_dataset_of_fewer_classes_than_its_clips_have(run: Path, data_root: Path) -> None:
    place = ("dataset=synthetic_xview", *TINY_DATA, "dataset.classes=3")
    with pytest.raises(UserError, match=r"dataset\.classes: found 3, expected at least 4, the classes of the clips in"):
        ask(data_root, run, *place, protocol="linear")
