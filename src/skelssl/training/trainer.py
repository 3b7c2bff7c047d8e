"""Build Lightning's trainer and the data of a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import DoublePrecision
from lightning.pytorch.strategies import DDPStrategy

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.data.module import SkeletonData
from skelssl.methods.base import Method
from skelssl.runtime.ranks import Place


class Double(DoublePrecision):
    """Everything in float64, our batches too."""

    def convert_input(self, data: Batch) -> Batch:
        return replace(data, x=data.x.double())


PRECISION: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "32-true"}, "bf16": {"precision": "bf16-mixed"}, "fp64": {"plugins": [Double()]},
}  # fmt: skip


def build_data(config: Mapping[str, Any]) -> SkeletonData:
    """The training data of a run."""
    method = config["method"]
    return SkeletonData(config["dataset"], method["recipe"], method["loader"], config["data_root"], config["seed"])


def build_trainer_options(config: Mapping[str, Any], folder: Path, here: Place | None = None) -> dict[str, Any]:
    """The ``trainer`` block; raises UserError for what this machine does not have."""
    options = dict(config["trainer"])
    if options["strategy"] == "ddp":
        options |= {"strategy": "auto", "devices": 1}
    if isinstance(profiler := options.get("profiler"), Mapping):
        options["profiler"] = instantiate(profiler, dirpath=str(folder))
    try:
        L.Trainer(**{k: v for k, v in options.items() if k != "profiler"}, logger=False, enable_checkpointing=False)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    return options | (_ddp(here) if here else {})


def _ddp(here: Place) -> dict[str, Any]:
    """Lightning's part of a rank. Buffers are alike on all ranks as it is; sending them around would cost time."""
    strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), broadcast_buffers=False)
    return {"strategy": strategy, "devices": here.local_world, "num_nodes": here.world // here.local_world}


def build_trainer(
    config: Mapping[str, Any],
    folder: Path,
    loggers: list[Logger],
    method: Method,
    options: Mapping[str, Any],
    more: Sequence[L.Callback] = (),
) -> L.Trainer:
    """Lightning's trainer; sampling and randomness are the loader's and the method's."""
    for logger in loggers:
        logger.log_hyperparams(dict(config))
    callbacks = [*(instantiate(block) for block in (config["callbacks"] or {}).values() if block), *more]
    return L.Trainer(
        **options,
        default_root_dir=folder,
        max_epochs=method.optim.last_epoch,
        **PRECISION[config["precision"]],
        logger=loggers,
        callbacks=callbacks,
        use_distributed_sampler=False,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        log_every_n_steps=50,
    )


def _quiet() -> None:
    """Lightning's banners and its advice about loaders that are not torch's say nothing a user can act on."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        "does not have many workers",
        "recommended to use `self.log",
        "smaller than the logging interval",
        "LeafSpec",
        "weights_only",
        "`broadcast_buffers` is deprecated",  # its successor is unknown to older torch
        "Grad strides do not match",
        "in eval mode at the start of training",  # teachers are
    ):
        warnings.filterwarnings("ignore", f".*{text}.*")
