"""Skeleton-contrast as a user runs it, on tiny synthetic data: every setting, resuming, evaluating, learning."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from safetensors.torch import load_file

import skelssl
from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.data.module import Dataset
from skelssl.methods.build import build_method
from skelssl.methods.skeleton_contrast import SkeletonContrast
from skelssl.protocols.bench import evaluate
from skelssl.results.published import published_cells
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from skelssl.training.trainer import build_data
from tests.helpers.config import compose, train_config

METHOD = "method=skeleton_contrast"
SCHEDULES = {"ntu60": (451, 351), "ntu120": (351, 251), "pku1": (451, 351), "pku2": (1001, 801)}


def named(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("skeleton_contrast_*.yaml"))


def sweep(experiment: str) -> list[tuple[str, ...]]:
    """The overrides of every point of an experiment's sweep; one empty point without a sweep."""
    text = (config_dir() / "experiment" / f"{experiment}.yaml").read_text("utf-8")
    params = yaml.safe_load(text).get("hydra", {}).get("sweeper", {}).get("params", {})
    parser, axes = OverridesParser.create(), []
    for key, values in params.items():
        override = parser.parse_override(f"{key}={values}")
        points = override.sweep_string_iterator() if override.is_sweep_override() else [values]
        axes.append([f"{key}={value}" for value in points])
    return list(product(*axes))


def last_row(folder: Path) -> dict[str, float]:
    return {key: float(value) for key, value in read_rows(folder / "metrics.csv")[-1].items() if value}


POINTS = [(f"experiment={n}", point) for n in named("experiment") for point in sweep(n) if "dataset=" not in str(point)]
POINTS += [("scale=short", (METHOD,))]


@pytest.mark.parametrize(
    ("study", "point"), POINTS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_point_of_every_experiment_trains(data_root: Path, tmp_path: Path, study: str, point: tuple[str]) -> None:
    config = train_config(data_root, study, "dataset=synthetic", "callbacks.probe=null", *point)
    assert config["method"]["name"] == "skeleton_contrast"
    train(config, tmp_path)
    assert last_row(tmp_path)["step"] == 1
    pair = config["method"]["pair"]
    assert {p.parent.name for p in tmp_path.glob("encoder/*/config.json")} == set(pair)
    assert {key for key in last_row(tmp_path) if key.endswith("_loss")} == {f"train/{name}_loss" for name in pair}


@pytest.mark.parametrize("point", sweep("skeleton_contrast_published"), ids="".join)
def test_every_published_cell_composes_with_its_schedule(point: tuple[str]) -> None:
    config = compose("train", "experiment=skeleton_contrast_published", *point)
    dataset = config["dataset"]["name"]
    assert point == (f"dataset={dataset}",)
    found = config["method"]["optim"]
    assert (found["epochs"], *found["milestones"]) == SCHEDULES[dataset.split("_")[0]]
    assert config["then"] == ["linear", "retrieval"]


def test_the_published_sweep_is_the_published_cells() -> None:
    (axis,) = zip(*sweep("skeleton_contrast_published"), strict=True)
    cells = {p.dataset for p in published_cells() if p.method == "skeleton_contrast" and p.status == "confirmed"
             and p.protocol == "linear" and p.setting is None}  # fmt: skip
    assert {override.removeprefix("dataset=") for override in axis} == cells


DATASETS = sorted(path.stem for path in (config_dir() / "dataset").glob("*_x*.yaml") if "synthetic" not in path.stem)


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_has_its_schedule(name: str) -> None:
    epochs, milestone = SCHEDULES[name.split("_")[0]]
    config = compose("train", METHOD, f"dataset={name}")
    with torch.device("meta"):
        optim = build_method(config).optim
    assert optim.last_epoch == epochs
    assert [optim.rate(e) for e in (0, milestone - 1, milestone, epochs - 1)] == [0.01, 0.01, *[0.01 * 0.1] * 2]


@pytest.mark.parametrize("name", named("preset/family"))
def test_every_preset_trains(data_root: Path, tmp_path: Path, name: str) -> None:
    train(train_config(data_root, METHOD, f"preset/family={name}", "callbacks.probe=null"), tmp_path)
    assert last_row(tmp_path)["step"] == 1


@pytest.mark.parametrize(
    ("pair", "trained"), [("[seq,graph]", 53_010_058), ("[seq,image]", 67_282_432), ("[graph,image]", 21_377_930)]
)
def test_published_sizes(pair: str, trained: int) -> None:
    config = compose("train", METHOD, f"method.pair={pair}")
    with torch.device("meta"):
        method = build_method(config)
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == trained


class Stop(Exception):
    pass


def test_a_resumed_run_keeps_queue_pointer_and_key_networks(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: stopped in mid-epoch, resumed, and at the end every tensor is that of an uninterrupted run."""
    more = ("method.optim.epochs=2", "trainer.limit_train_batches=4", "callbacks.checkpoint.every_n_steps=1")
    config = train_config(data_root, METHOD, *more)
    train(config, tmp_path / "whole")
    original, calls = SkeletonContrast.training_step, [0]

    def stops(self: SkeletonContrast, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise Stop
        return original(self, *args)

    monkeypatch.setattr(SkeletonContrast, "training_step", stops)
    with pytest.raises(Stop):
        train(config, tmp_path / "killed")
    half = torch.load(tmp_path / "killed" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert int(half["queue.seq.pointer"]) == 3 * 8 % 20
    train(config, tmp_path / "killed")
    assert calls[0] == 4 + 5
    whole, resumed = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "killed")
    )
    assert {"queue.graph.keys", "queue.seq.pointer", "key.graph.updates"} <= whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert int(whole["key.seq.updates"]) == 8
    losses = [[row["train/loss"] for row in read_rows(tmp_path / name / "metrics.csv")] for name in ("whole", "killed")]
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def run(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrast")
    train(train_config(data_root, METHOD), folder)
    return folder


def ask(data_root: Path, run: Path, protocol: str, *more: str) -> dict[str, Any]:
    places = (f"checkpoint='{run}'", f"data_root='{data_root}'", "debug=smoke")
    config = compose("evaluate", f"protocol={protocol}", *places, *more)
    return evaluate(config, [config["protocol"]])[0].result


def test_a_run_ships_an_encoder_for_each_representation(run: Path) -> None:
    default, seq, graph = (skelssl.load_encoder(run, representation=name) for name in (None, "seq", "graph"))
    x = torch.randn(2, 3, 64, 25, 2)
    with torch.no_grad():
        assert torch.equal(default(x), seq(x))
        assert (seq(x).shape, graph(x).shape) == ((2, 16), (2, 16))
        both = skelssl.load_encoder(run, representation="concat_l2")(x)
    parts = [torch.nn.functional.normalize(encoder(x).detach(), dim=1) for encoder in (graph, seq)]
    torch.testing.assert_close(both, torch.cat(parts, 1))
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[f"query.graph.encoder.{key}"], value)
               for key, value in load_file(run / "encoder" / "graph" / "encoder.safetensors").items())  # fmt: skip
    with pytest.raises(UserError, match="representation: found 'image', expected one of graph, seq, concat_l2 in"):
        skelssl.load_encoder(run, representation="image")


def test_results_name_the_encoder_unless_it_is_the_published_one(data_root: Path, run: Path) -> None:
    limits = "2 clips a class, 2 probe epochs"
    for name, setting in (("null", limits), ("seq", limits), ("graph", f"seq+graph, graph, {limits}"),
                          ("concat_l2", f"graph+seq, concat_l2, {limits}")):  # fmt: skip
        result = ask(data_root, run, "retrieval", f"representation={name}")
        assert (result["setting"], result["n_test"], result["protocol"]) == (setting, 8, "retrieval")
    same = [ask(data_root, run, "retrieval", "representation=seq"), ask(data_root, run, "knn")]  # k = 1, two names
    for key in ("top1", "random_init_top1", "setting", "checkpoint_sha256", "labels_used"):
        assert same[0][key] == same[1][key], key


def test_the_random_encoder_is_the_start_of_training(data_root: Path, run: Path) -> None:
    from skelssl.core.files import read_json
    from skelssl.protocols.bench import random_init

    method: Any = build_method(train_config(data_root, METHOD))
    for name in ("seq", "graph"):
        drawn = random_init(read_json(run / "encoder" / name / "config.json"), 0, []).state_dict()
        begun = method.query[name].encoder.state_dict()
        assert all(torch.equal(begun[key], drawn[key]) for key in drawn)


def finds_its_key(method: Any, data: Dataset) -> dict[str, float]:
    """Share of queries that are nearest to their own key among those of one batch of 12 test clips.

    Unlike the share among the queue's keys it says nothing of age: all keys are of this moment.
    """
    draw, (a, b), found = torch.Generator().manual_seed(9), method.pair, {}
    for part in range(24):
        batch = data.store.gather(data.test[part % 6 :: 6])
        with torch.no_grad():
            first, second = method.view(batch, draw), method.view(batch, draw)
            for own, other in ((a, b), (b, a)):
                right = (method.query[own](first) @ method.key[other](second).T).argmax(1) == torch.arange(len(batch))
                found[own] = found.get(own, 0.0) + float(right.double().mean()) / 24
    return found


@pytest.mark.slow
def test_it_learns(data_root: Path, tmp_path: Path) -> None:
    """P13: with a queue full of clips' keys the loss falls, new clips find their key, neighbours share their class."""
    frames = [f"method.view.{view}.frames=16" for view in ("pretrain", "probe", "test")]
    config = train_config(
        data_root, METHOD, *frames, "method.view.pretrain.min_frames=16", "dataset.source.classes=24",
        "method.encoder.seq.hidden=32", "method.encoder.graph.hidden=8", "method.head.dim=64", "method.queue.size=96",
        "method.teacher.momentum=0.99", "method.loss.temperature=0.2", "method.loader.batch=24", "method.optim.lr=0.03",
        "method.optim.epochs=24", "trainer.limit_train_batches=null", "callbacks.probe=null",
        "callbacks.checkpoint.every_n_epochs=24",
    )  # fmt: skip
    train(config, tmp_path)
    table = [{key: float(value) for key, value in row.items() if value} for row in read_rows(tmp_path / "metrics.csv")]
    assert table[-1]["train/loss"] < 0.95 * table[5]["train/loss"]

    method, data = build_method(config).train(), build_data(config).dataset
    start = finds_its_key(method, data)
    method.load_state_dict(torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    trained = finds_its_key(method, data)
    assert max(start.values()) < 1.3 / 12
    assert min(trained.values()) > 1.5 / 12, trained

    places = (f"checkpoint='{tmp_path}'", f"data_root='{data_root}'", "protocol=retrieval")
    gain = 0.0
    for name in ("seq", "graph"):
        asked = compose("evaluate", *places, f"representation={name}")
        result = evaluate(asked, [asked["protocol"]])[0].result
        gain += (result["top1"] - result["random_init_top1"]) / 2
    # Of 72 test clips: rounding alone moves it. Seeds 0, 1 and 2 gave 0.049, 0.035 and -0.056, so this guards the way
    # to the features and says little about them; docs/measured.md has longer runs.
    assert gain > 0.02
