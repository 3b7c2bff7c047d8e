"""``python -m skelssl.evaluate protocol=linear checkpoint=RUN``: one protocol on one frozen encoder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from skelssl.callbacks.metrics import MetricsCSV
from skelssl.checkpoints import build_encoder, load_encoder, sha256, weights_file
from skelssl.data.files import read_json, write_json
from skelssl.data.module import Dataset, open_dataset
from skelssl.entry import config_dir, run_hydra
from skelssl.errors import UserError
from skelssl.protocols.frozen import Frozen
from skelssl.results import one_line, summarise, write_result
from skelssl.runs import git_commit, load_config, resolved
from skelssl.trust import check_target

MODES = ("paper", "clean")


def main() -> None:
    """Console entry."""
    run_hydra("evaluate", lambda config: evaluate_one(resolved(config)))


def evaluate_one(config: Mapping[str, Any]) -> None:
    """The protocol that the command line names."""
    evaluate(config, [config["protocol"]])


def evaluate_run(folder: Path, protocols: Sequence[str], config: Mapping[str, Any]) -> None:
    """Evaluates a finished run from inside its own job (``then=[linear,knn]``) and adds the figures to its metrics."""
    asked = OmegaConf.load(config_dir() / "evaluate.yaml")
    asked.merge_with(
        {key: config[key] for key in ("seed", "data_root", "precision", "trainer", "limit") if key in config}
    )
    asked.merge_with({"dataset": None, "checkpoint": str(folder)})
    about = read_json(folder / "run.json")
    for result in evaluate(resolved(asked), [read_protocol(name) for name in protocols]):  # type: ignore[arg-type]
        row = {"epoch": about["epochs"] - 1, f"eval/{result['protocol']}/top1": result["top1"]}
        MetricsCSV(folder / "metrics.csv").log_metrics(row, about["steps"] - 1)


def read_protocol(name: str) -> Mapping[str, Any]:
    """``conf/protocol/<name>.yaml``."""
    path = config_dir() / "protocol" / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"then: found {name!r}, expected protocols out of {known}")
    return resolved(OmegaConf.load(path))  # type: ignore[arg-type]


def evaluate(config: Mapping[str, Any], protocols: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs each protocol for every seed and prints a line for each; what already stands is read, not run again.

    ``config`` is a resolved ``evaluate.yaml``, a protocol a resolved ``conf/protocol/<name>.yaml``.
    """
    check(config)
    path = Path(config["checkpoint"])
    encoder = load_encoder(
        path, config["source"], config["representation"], trust=config["trust"], stream=config["stream"]
    )
    about: dict[str, Any] = encoder.about  # type: ignore[assignment]
    data = open_dataset(dataset_of(config, path), about["recipe"], config["data_root"])
    digest = sha256(weights_file(path, config["representation"]))
    facts = {
        "method": about["method"], "dataset": data.name, "mode": config["mode"], "setting": setting(config),
        "stream": about["stream"],
        "data_fingerprint": data.fingerprint, "checkpoint_sha256": digest,
        **{key: config[key] for key in ("precision", "baseline")},
    }  # fmt: skip
    foreign = Path("outputs") / about["method"] / data.name / f"{path.stem}-{digest[:8]}"
    home = (path if path.is_dir() else foreign) / "eval"
    bench, results = Bench(encoder, about, data, config), []
    for protocol in protocols:
        cell = {**facts, "protocol": protocol["name"], "recipe": probe_recipe(config, protocol, about)}
        cells = [bench.result(home / protocol["name"], protocol, {**cell, "seed": s}) for s in seeds(config)]
        for result in cells:
            print(one_line(result), flush=True)
        if len(cells) > 1:
            write_json(home / protocol["name"] / "summary.json", summarise(cells))
        results += cells
    return results


class Bench:
    """A trained encoder and its random initialisation on one dataset; protocols share their features."""

    def __init__(self, encoder: nn.Module, about: Mapping[str, Any], data: Dataset, config: Mapping[str, Any]) -> None:
        self.data, self.rerun = data, config["rerun"]
        options = {"device": device(config), "precision": config["precision"], "limit": config["limit"]["clips"]}
        self.trained = Frozen(encoder, data, **options)
        self.random = Frozen(random_init(about, config["trust"]), data, **options) if config["baseline"] else None

    def result(self, home: Path, protocol: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        """The result of one protocol and seed: run now, or read where the very same evaluation already stands."""
        text = json.dumps(facts, sort_keys=True)
        folder = home / hashlib.sha256(text.encode()).hexdigest()[:10]
        if (folder / "result.json").exists() and not self.rerun:
            found: dict[str, Any] = read_json(folder / "result.json")
            return found
        start, run = time.monotonic(), instantiate(protocol["run"])
        scores = run(self.trained, facts["recipe"], facts["seed"])
        baseline = run(self.random, facts["recipe"], facts["seed"]) if self.random else None
        n_train = len(self.trained.rows["train"])
        more = {
            "n_train": n_train, "labels_used": n_train, "n_test": len(scores.label), "git_commit": git_commit(),
            "seconds": round(time.monotonic() - start, 2),
        }  # fmt: skip
        names = [self.data.store.names[i] for i in scores.index.tolist()]
        return write_result(folder, {**facts, **more}, scores, baseline, names)


def check(config: Mapping[str, Any]) -> None:
    """Refuses values that no later step would name as clearly."""
    if config["mode"] not in MODES:
        raise UserError(f"mode: found {config['mode']!r}, expected one of {', '.join(MODES)}")
    if not Path(config["checkpoint"]).exists():
        raise UserError(f"checkpoint: found nothing at {config['checkpoint']}, expected a run folder or a file")


def dataset_of(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The dataset asked for, else the run's own."""
    if config.get("dataset") is not None:
        chosen: Mapping[str, Any] = config["dataset"]
        return chosen
    if not (path / "config.yaml").exists():
        raise UserError(f"dataset: not given, and {path} is no run folder that names one, expected dataset=NAME")
    own: Mapping[str, Any] = load_config(path)["dataset"]
    check_target(own, config["trust"])
    return own


def setting(config: Mapping[str, Any]) -> str | None:
    """What sets a result apart from the published protocol, so that the two never share a row of the report."""
    limit = config["limit"]
    parts = [config["representation"], limit["clips"] and f"{limit['clips']} clips a class",
             limit["epochs"] and f"{limit['epochs']} probe epochs"]  # fmt: skip
    return ", ".join(str(p) for p in parts if p) or None


def seeds(config: Mapping[str, Any]) -> list[int]:
    """``seeds=[0,1,2]``, else the one ``seed``."""
    return list(config["seeds"] or [config["seed"]])


def probe_recipe(config: Mapping[str, Any], protocol: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """``mode=paper``: the method's published recipe where it has one; ``mode=clean``: the protocol's own."""
    published = about["probe"].get(protocol["name"])
    recipe = dict(published if config["mode"] == "paper" and published else protocol["recipe"])
    epochs = config["limit"]["epochs"]
    return {**recipe, "epochs": min(recipe["epochs"], epochs)} if epochs and "epochs" in recipe else recipe


def random_init(about: Mapping[str, Any], trust: list[str]) -> nn.Module:
    """The encoder as the run's seed drew it, before any training."""
    with torch.random.fork_rng():
        torch.manual_seed(about["seed"])
        return build_encoder(about, trust)


def device(config: Mapping[str, Any]) -> torch.device:
    """Where features are computed: as ``trainer.accelerator`` says."""
    wanted = config["trainer"]["accelerator"]
    return torch.device("cuda" if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
