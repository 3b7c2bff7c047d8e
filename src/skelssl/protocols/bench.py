"""Evaluate a trained encoder and its random initialisation under one or several protocols."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from skelssl.core.compose import resolved
from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.core.runs import git_commit, load_config
from skelssl.core.schema import expect
from skelssl.data.module import Dataset, open_dataset
from skelssl.pretrained.attributes import Pretrained
from skelssl.pretrained.features import PRECISIONS
from skelssl.pretrained.files import run_of, weights_digest, weights_files
from skelssl.pretrained.load import build_encoder, load_encoder
from skelssl.pretrained.trust import check_target
from skelssl.protocols.cost import EncoderCost, measure_cost
from skelssl.protocols.frozen import Frozen, coverage
from skelssl.protocols.plan import plan_tasks, result_setting
from skelssl.protocols.selection import select_and_score
from skelssl.results.record import result_line, summarise, summary_lines, write_result, write_summary
from skelssl.runtime.memory import keep_pages
from skelssl.runtime.ranks import agree, launched_rank, local_rank, process_group, say

MODES = ("paper", "clean")
TIMED = {"cuda": 32, "cpu": 4}  # test clips that time an encoder


def run_evaluation(config: DictConfig) -> None:
    """Run one job of ``skelssl.evaluate``."""
    evaluate_one(resolved(config))


def evaluate_one(config: Mapping[str, Any]) -> list[Evaluation]:
    """Run the protocol of a resolved ``evaluate.yaml``.

    Returns:
        One evaluation for each seed, label ratio and member of a suite.

    Raises:
        UserError: The configuration does not fit the encoder, the dataset or the protocol.
    """
    protocol = config["protocol"]
    with process_group(launched_rank(), config["trainer"], host_tensors=True):
        if "over" in protocol:
            fused: list[Evaluation] = instantiate(protocol["over"])(config)
            return fused
        return evaluate(config, [protocol])


class Evaluation(NamedTuple):
    """One result of a protocol and where it is stored."""

    folder: Path
    result: dict[str, Any]
    fresh: bool  # computed by this call, not read from an earlier one


def evaluate(config: Mapping[str, Any], protocols: Sequence[Mapping[str, Any]]) -> list[Evaluation]:
    """Run each protocol for every seed and print a line for each; an evaluation with a stored result is only read.

    Args:
        config: A resolved ``evaluate.yaml``.
        protocols: Resolved ``conf/protocol/<name>.yaml`` files.

    Returns:
        The evaluations in the order of protocols, recipes and seeds. Several seeds also write a ``summary.json``.

    Raises:
        UserError: The configuration does not fit the encoder, the dataset or a protocol.
    """
    check_evaluation(config)
    keep_pages()
    path = run_of(Path(config["checkpoint"]))
    encoder, data = open_encoder_and_data(config, path)
    about = Pretrained.of(encoder).about
    digest = weights_digest(weights_files(path, config["representation"]))
    facts = {
        "method": about["method"], "dataset": data.name, "mode": config["mode"], "stream": about["stream"],
        "data_fingerprint": data.fingerprint, "checkpoint_sha256": digest, "precision": config["precision"],
    }  # fmt: skip
    if config.get("method"):  # a run fixes views and sizes; a file takes those given with it
        facts |= {"view": about["view"], "architecture": about["encoder"]}
    foreign = Path("outputs") / about["method"] / data.name / f"{path.stem}-{digest[:8]}"
    home = (path if path.is_dir() else foreign) / "eval"
    bench, results = Bench(encoder, about, data, config), []
    _say_coverage(bench.trained)
    for protocol, recipe in plan_tasks(config, protocols, about):
        cell = {
            **facts, "protocol": protocol["name"], "recipe": recipe,
            "setting": result_setting(config, about, recipe, data.name),
            "baseline": protocol.get("baseline", True) if config["baseline"] is None else config["baseline"],
        }  # fmt: skip
        cells = [bench.result(home, protocol, {**cell, "seed": seed}) for seed in evaluation_seeds(config, about)]
        for done in cells:
            say(result_line(done.result))
        if len(cells) > 1:
            summary = summarise([c.result for c in cells])
            write_summary(home / protocol["name"] / short_hash(cell), summary)
            say(summary_lines(summary))
        results += cells
    return results


def _say_coverage(frozen: Frozen) -> None:
    """Print how many classes have no training clip, if any."""
    if (unseen := coverage(frozen))["classes_without_training"]:
        say(f"{frozen.data.name}: {unseen['classes_without_training']} classes have no training clip; "
            f"{unseen['test_clips_without_training']} test clips are of those")  # fmt: skip


def open_encoder_and_data(config: Mapping[str, Any], path: Path) -> tuple[nn.Module, Dataset]:
    """Load the encoder at ``path`` and open its dataset; raise UserError where the two do not fit together."""
    encoder = load_encoder(
        path, config["source"], config["representation"], method=config.get("method"), trust=config["trust"],
        stream=config["stream"],
    )  # fmt: skip
    about = Pretrained.of(encoder).about
    if config["stream"] not in ("joint", about["stream"]):
        raise UserError(f"stream: found {config['stream']}, expected that of {path}, {about['stream']}")
    data = open_dataset(dataset_of(config, path), about["recipe"], config["data_root"])
    if config.get("dataset") is None and data.fingerprint != about["data_fingerprint"]:
        raise UserError(
            f"data_root={config['data_root']}: found data of fingerprint {data.fingerprint}, expected "
            f"{about['data_fingerprint']} of {path}; name the dataset to evaluate on other data"
        )
    return encoder, data


class Bench:
    """A trained encoder and its random initialisation on one dataset, whose features all protocols share."""

    def __init__(self, encoder: nn.Module, about: Mapping[str, Any], data: Dataset, config: Mapping[str, Any]) -> None:
        self.about, self.data, self.config = about, data, config
        self.trained = self._frozen(encoder)
        self._random: dict[int, Frozen] = {}

    def _frozen(self, encoder: nn.Module) -> Frozen:
        limit, precision = self.config["limit"]["clips"], self.config["precision"]
        return Frozen(encoder, self.data, device=device_of(self.config), precision=precision, limit=limit)

    def random(self, seed: int) -> Frozen:
        """Return the same architecture, randomly initialised from ``seed``."""
        if seed not in self._random:
            self._random = {seed: self._frozen(random_init(self.about, seed, self.config["trust"]))}
        return self._random[seed]

    def result(self, home: Path, protocol: Mapping[str, Any], facts: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation of one protocol and seed: read it where it is stored, else run it and store it.

        Args:
            home: The ``eval`` folder.
            protocol: A resolved ``conf/protocol/<name>.yaml``.
            facts: What identifies the evaluation: its recipe, seed, dataset and encoder.
        """
        folder = home / protocol["name"] / short_hash(facts)
        if agree((folder / "result.json").exists()) and not self.config["rerun"]:
            return Evaluation(folder, read_json(folder / "result.json"), fresh=False)
        start, run, seed = time.monotonic(), instantiate(protocol["run"]), facts["seed"]
        scores, chosen = select_and_score(run, self.trained, facts["recipe"], seed)
        baseline, baseline_chosen = None, None
        if facts["baseline"]:
            baseline, baseline_chosen = select_and_score(run, self.random(seed), facts["recipe"], seed)
        train = self.trained.rows["train"]
        more = {
            "n_train": len(train), "labels_used": len(train), "n_test": len(scores.label), "chosen": chosen,
            "random_init_chosen": baseline_chosen, "git_commit": git_commit(),
            "seconds": round(time.monotonic() - start, 2), "encoder": self.cost._asdict(), **coverage(self.trained),
        }  # fmt: skip
        names = [self.data.store.names[i] for i in scores.index.tolist()]
        found = write_result(folder, {**facts, **more}, scores, baseline, names, self.data.class_names)
        return Evaluation(folder, found, fresh=True)

    @cached_property
    def cost(self) -> EncoderCost:
        """Cost of the encoder, counted and timed once for all protocols and seeds."""
        frozen = self.trained
        clips = self.data.store.gather(frozen.rows["test"][: TIMED[frozen.device.type]])
        return measure_cost(frozen.encoder, frozen.views["test"], clips, frozen.precision)


def short_hash(facts: Mapping[str, Any]) -> str:
    """Return ten hex digits that depend on the content alone."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]


def check_evaluation(config: Mapping[str, Any]) -> None:
    """Raise UserError for invalid values of ``evaluate.yaml`` that no later step would name as clearly."""
    for key, choices in (("mode", MODES), ("precision", PRECISIONS)):
        expect(key, config[key], config[key] in choices, f"one of {', '.join(choices)}")
    if not isinstance(config["checkpoint"], str):
        raise UserError(
            f"checkpoint: found {config['checkpoint']}, expected one run folder or file (protocol=fusion takes several)"
        )
    if not isinstance(config["representation"], str | None):
        raise UserError(f"representation: found {config['representation']}, expected one name")
    for key in ("seed", "seeds"):
        values = config[key] if isinstance(config[key], list) else [config[key]]
        good = all(value is None or (isinstance(value, int) and value >= 0) for value in values)
        expect(key, config[key], bool(values) and good, "whole numbers of at least 0")
        expect(key, config[key], len(set(values)) == len(values), "each number once")
    if config.get("method") and not config["source"]:
        raise UserError(
            f"method: found {config['method']['name']}, expected none without source=: a run brings its own"
        )
    for key, value in config["limit"].items():
        good = value is None or (isinstance(value, int) and value >= 1)
        expect(f"limit.{key}", value, good, "null or a whole number of at least 1")
    if not Path(config["checkpoint"]).exists():
        raise UserError(f"checkpoint: found nothing at {config['checkpoint']}, expected a run folder or a file")


def dataset_of(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Return the configured dataset block, else that of the run."""
    if config.get("dataset") is not None:
        chosen: Mapping[str, Any] = config["dataset"]
        return chosen
    if not (path / "config.yaml").exists():
        raise UserError(f"dataset: not given, and {path} is no run folder that names one, expected dataset=NAME")
    own: Mapping[str, Any] = load_config(path)["dataset"]
    check_target(own, config["trust"])
    return own


def evaluation_seeds(config: Mapping[str, Any], about: Mapping[str, Any]) -> list[int]:
    """Return ``seeds=[0,1,2]``, else the one ``seed``, else the run's seed."""
    given = config["seeds"] if config["seeds"] is not None else config["seed"]
    given = about["seed"] if given is None else given
    return list(given) if isinstance(given, list) else [given]


def random_init(about: Mapping[str, Any], seed: int, trust: list[str]) -> nn.Module:
    """Return a randomly initialised encoder; with the run's seed, the one its training began with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_encoder(about, trust)


def device_of(config: Mapping[str, Any]) -> torch.device:
    """Return the device of ``trainer.accelerator``, on which features are computed."""
    wanted = config["trainer"]["accelerator"]
    gpu = wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda", local_rank()) if gpu else torch.device("cpu")
