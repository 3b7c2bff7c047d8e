"""``python -m skelssl.train method=pstl dataset=ntu60_xsub``: pre-trains one encoder into its run folder."""

from __future__ import annotations

import logging
import resource
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from skelssl.callbacks.checkpoint import LAST
from skelssl.callbacks.metrics import MetricsCSV
from skelssl.checkpoints import read_state, save_encoders
from skelssl.data.files import write_json
from skelssl.data.module import SkeletonData
from skelssl.entry import run_hydra
from skelssl.errors import UserError
from skelssl.methods.base import Method
from skelssl.runs import claim, finished, git_commit, resolved, run_folder, versions

PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed"}
SHARED_KEYS = ("name", "recipe", "loader", "monitor", "probe")  # read by others; the rest builds the method


def main() -> None:
    """Console entry."""
    run_hydra("train", lambda config: train_and_evaluate(config))


def train_and_evaluate(config: DictConfig) -> None:
    """One job: trains, then evaluates the protocols named by ``then``."""
    plain = resolved(config)
    moved = [o for o in HydraConfig.get().overrides.hydra if o.startswith("hydra.run.dir=")]
    folder = run_folder(plain, HydraConfig.get().run.dir if moved else None)
    train(plain, folder)
    if plain["then"]:
        from skelssl.evaluate import evaluate_run  # only here: training alone must not wait for its imports

        evaluate_run(folder, plain["then"], plain)


def train(config: Mapping[str, Any], folder: Path) -> None:
    """Trains ``config`` (resolved) in ``folder``, goes on with it, or says that it is finished."""
    if config["rerun"] and folder.exists():
        shutil.rmtree(folder)
    claim(folder, config)
    if finished(folder):
        print(f"{folder} is finished; rerun=true starts it anew")
        return
    _quiet()
    state = resume_from(config, folder)
    method, data = build_method(config), build_data(config)
    dataset = data.dataset
    metrics = MetricsCSV(folder / "metrics.csv", echo=not sys.stdout.isatty())
    seen: dict[str, Any] = read_state(state) if state else {"global_step": 0, "epoch": 0, "row": {}}
    metrics.resume(seen["global_step"], seen["epoch"] + 1, seen["row"])
    trainer = build_trainer(config, folder, metrics, method)
    print(
        f"{config['method']['name']} on {config['dataset']['name']}: {len(dataset.train)} clips -> {folder}", flush=True
    )
    try:
        trainer.fit(method, data, ckpt_path=state, weights_only=True if state else None)
    except RuntimeError as error:
        if state and "Error(s) in loading state_dict" in str(error):
            raise UserError(
                f"{state}: found weights of another shape or method, expected those of this config"
            ) from error
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    save_encoders(method.encoders(), folder / "encoder", config, dataset.fingerprint)
    write_json(folder / "run.json", {
        "finished": True, "method": config["method"]["name"], "dataset": config["dataset"]["name"],
        "seed": config["seed"], "epochs": trainer.current_epoch, "steps": trainer.global_step,
        "seconds": round(method.elapsed, 1), "peak_memory_mb": peak_memory_mb(),
        "data_fingerprint": dataset.fingerprint, "git_commit": git_commit(), "versions": versions(),
    })  # fmt: skip


def resume_from(config: Mapping[str, Any], folder: Path) -> Path | None:
    """The checkpoint to go on from: the one the user names, else the run's own, else none."""
    if config["resume"] not in (True, False, None):
        named = Path(config["resume"])
        if not named.exists():
            raise UserError(f"resume: found no file {named}, expected a checkpoint such as RUN/{LAST}")
        return named
    last = folder / LAST
    if config["resume"] and last.exists():
        print(f"resuming from {last}")
        return last
    return None


def build_method(config: Mapping[str, Any]) -> Method:
    """The LightningModule, its weights drawn from ``seed``; the encoder draws first, so its start can be made alone."""
    torch.manual_seed(config["seed"])
    parts = {k: v for k, v in config["method"].items() if k not in SHARED_KEYS}
    method: Method = instantiate(parts, seed=config["seed"], _convert_="all")
    if config["compile"]:
        method.encoder.compile()
    return method


def build_data(config: Mapping[str, Any]) -> SkeletonData:
    """The training data of a run."""
    method = config["method"]
    return SkeletonData(config["dataset"], method["recipe"], method["loader"], config["data_root"], config["seed"])


def build_trainer(config: Mapping[str, Any], folder: Path, metrics: MetricsCSV, method: Method) -> L.Trainer:
    """Lightning's trainer; sampling and randomness are the loader's and the method's."""
    if config["precision"] not in PRECISION:
        raise UserError(f"precision: found {config['precision']!r}, expected one of {', '.join(PRECISION)}")
    loggers: list[Logger] = [metrics]
    for block in (config["logger"] or {}).values():
        loggers.append(instantiate(block, save_dir=str(folder), _convert_="all"))
        loggers[-1].log_hyperparams(dict(config))
    callbacks = [instantiate(block) for block in (config["callbacks"] or {}).values() if block]
    return L.Trainer(
        **config["trainer"],
        default_root_dir=folder,
        max_epochs=method.optim.last_epoch,
        precision=PRECISION[config["precision"]],
        logger=loggers,
        callbacks=callbacks,
        use_distributed_sampler=False,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        log_every_n_steps=50,
    )


def peak_memory_mb() -> int:
    """Largest memory of the run: the GPU's where there is one, else the process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _quiet() -> None:
    """Lightning's banners and its advice about loaders that are not torch's say nothing a user can act on."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in ("does not have many workers", "smaller than the logging interval", "LeafSpec", "weights_only"):
        warnings.filterwarnings("ignore", f".*{text}.*")


if __name__ == "__main__":
    main()
