"""Train, then evaluate the protocols that ``then`` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from skelssl.core.compose import config_dir, resolved
from skelssl.core.files import read_json
from skelssl.core.runs import run_folder
from skelssl.protocols.bench import evaluate
from skelssl.protocols.plan import read_protocols
from skelssl.runtime.ranks import launched_rank
from skelssl.training.callbacks.loggers import build_loggers, end_loggers, grouped
from skelssl.training.callbacks.metrics import MetricsCSV
from skelssl.training.loop import train


def train_and_evaluate(config: DictConfig) -> Path:
    """Train, then evaluate the protocols named by ``then``; return the run folder.

    ``config`` is as the command line composed it; a call of `skelssl.pretrain` includes its key ``hydra``.
    """
    hydra = config.hydra if "hydra" in config else HydraConfig.get()
    settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = grouped(resolved(settings), hydra.runtime.choices.get("experiment"))
    if plain["resume"] == "auto":  # another name of the default
        plain["resume"] = True
    protocols = read_protocols(plain["then"])
    moved = any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    folder = run_folder(plain, hydra.run.dir if moved else None)
    try:
        train(plain, folder)
        me = launched_rank()
        if protocols and not (me and me.rank):
            # Frozen features are float32 whatever an encoder was trained in.
            evaluate_run(folder, protocols, {**plain, "precision": plain["precision"].replace("fp64", "fp32")})
    finally:
        end_loggers()
    return folder


def evaluate_run(folder: Path, protocols: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> None:
    """Evaluate a finished run within its own job (``then=[linear,knn]``), and log new results to its metrics."""
    evaluation = OmegaConf.load(config_dir() / "evaluate.yaml")
    del evaluation["defaults"]  # type: ignore[arg-type]
    shared = ("data_root", "precision", "trainer", "limit", "trust")
    evaluation.merge_with({key: config[key] for key in shared if key in config})
    evaluation.merge_with({"dataset": None, "checkpoint": str(folder)})
    about = read_json(folder / "run.json")
    fresh = [done.result for done in evaluate(resolved(evaluation), protocols) if done.fresh]  # type: ignore[arg-type]
    loggers = [MetricsCSV(folder / "metrics.csv"), *build_loggers(config, folder)] if fresh else []
    for logger in loggers:
        for result in fresh:
            row = {"epoch": about["epochs"] - 1, f"eval/{result['protocol']}/top1": result["top1"]}
            logger.log_metrics(row, about["steps"] - 1)
        logger.finalize("success")
