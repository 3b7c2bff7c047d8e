"""The HTML page of one run: gathers what ``pictures`` draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from skelssl.callbacks.checkpoint import LAST
from skelssl.checkpoints import load_encoder, read_state
from skelssl.clip_figures import mapped, masked
from skelssl.data.module import Dataset, open_dataset
from skelssl.methods.base import Method
from skelssl.pictures.embedding import Embedding
from skelssl.pictures.lost_joints import curves_of
from skelssl.pictures.player import PlayerClip
from skelssl.pictures.run_report import write_run_report
from skelssl.protocols.floor import raw_features, raw_one_nn, raw_ridge
from skelssl.protocols.frozen import Frozen
from skelssl.rows import find_results, gather, read_metrics
from skelssl.runs import load_config
from skelssl.skeleton import layout
from skelssl.train import build_method
from skelssl.trust import check_target
from skelssl.views.streams import positions

RIDGE_CLIPS = 5000  # the classifier solves a system of as many equations as there are training clips
MAP_CLIPS = 3000


def open_run(run: Path) -> tuple[dict[str, Any], Dataset]:
    """Configuration and data of a run; raises UserError where either is gone."""
    config = load_config(run)
    check_target({key: config[key] for key in ("dataset", "method")})
    return config, open_dataset(config["dataset"], config["method"]["recipe"], config["data_root"])


def raw_floors(data: Dataset) -> dict[str, float]:
    """What raw coordinates achieve on this split, by protocol: nearest neighbour, and a ridge classifier."""
    sides = []
    for rows in (data.train, data.test):
        batch = data.store.gather(rows)
        sides += [
            raw_features(batch.x, batch.frames, body=data.store.layout, coordinates=data.store.coordinates),
            batch.label,
        ]
    floors = {"knn": raw_one_nn(*sides)}
    return floors | ({"linear": raw_ridge(*sides)} if len(data.train) <= RIDGE_CLIPS else {})


def write_page(run: Path, path: Path, floors: Mapping[str, float] | None = None) -> None:
    """Writes the self-contained page of ``run``: figures, curves, masks on a test clip, feature map, confusions."""
    config, data = open_run(run)
    results = find_results([run])
    with np.load(best_result(results), allow_pickle=False) as scores:
        classes = len(data.class_names)
        cells = scores["labels"] * classes + scores["logits"].argmax(1)
        confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    write_run_report(
        path,
        title=f"{config['method']['name']} on {config['dataset']['name']}",
        subtitle=f"run {run.name}, seed {config['seed']}, {len(data.train)} training and {len(data.test)} test clips",
        metrics_rows=curves(run),
        results=gather(results),
        lost=curves_of(results),
        floors=floors,
        confusion_matrix=confusion,
        class_names=data.class_names,
        embedding=embedding(run, data),
        players=players(trained(config, run), data, config["seed"]),
        layout=layout(data.store.layout),
    )


def curves(run: Path) -> list[dict[str, float]]:
    """What changed during training; evaluations are single figures."""
    rows = read_metrics(run / "metrics.csv")
    return [{k: v for k, v in row.items() if not k.startswith("eval/")} for row in rows]


def best_result(results: list[Any]) -> Path:
    """Scores to draw confusions from: the linear probe's where it was run."""
    chosen = next((r for r in results if r.facts["protocol"] == "linear"), results[0])
    return cast(Path, chosen.path.with_name("scores.npz"))


def embedding(run: Path, data: Dataset) -> Embedding:
    """The test clips on the two main axes of the encoder's features."""
    part = replace(data, test=data.test[:: 1 + len(data.test) // MAP_CLIPS])
    features = Frozen(load_encoder(run), part, device=torch.device("cpu"), precision="fp32").features("test", "test")
    return mapped(features, data.store)[0]


def trained(config: Mapping[str, Any], run: Path) -> Method:
    """The method of a run with its trained encoder, which some masks look at. What is thrown away after training is as
    the last checkpoint has it; without one, as the seed draws it.
    """
    method = build_method(config)
    if (run / LAST).exists():
        method.load_state_dict(read_state(run / LAST)["state_dict"])
    method.encoders()[""].load_state_dict(load_encoder(run).state_dict())
    return method


def players(method: Method, data: Dataset, seed: int) -> list[PlayerClip]:
    """The liveliest of some test clips under the masks of the method."""
    batch = data.store.gather(data.test[:: 1 + len(data.test) // 64])
    lively = int(positions(batch.x, data.store.coordinates).diff(dim=2).square().sum((1, 2, 3, 4)).argmax())
    x = batch.x[lively : lively + 1, :, : int(batch.frames[lively])]
    return masked(method.show(x, torch.Generator().manual_seed(seed)), x, data.store.coordinates)
