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
from lightning.pytorch.plugins.precision import DoublePrecision
from lightning.pytorch.strategies import DDPStrategy

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.data.module import SkeletonData
from skelssl.runtime.ranks import Rank


class Double(DoublePrecision):
    """Lightning's float64 plugin, which also converts our batches."""

    def convert_input(self, data: Batch) -> Batch:
        return replace(data, x=data.x.double())


PRECISION: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "32-true"}, "bf16": {"precision": "bf16-mixed"}, "fp64": {"plugins": [Double()]},
}  # fmt: skip


def build_data(config: Mapping[str, Any]) -> SkeletonData:
    """Build the training data of a run."""
    method = config["method"]
    return SkeletonData(config["dataset"], method["recipe"], method["loader"], config["data_root"], config["seed"])


def build_trainer(
    config: Mapping[str, Any], folder: Path, me: Rank | None, epochs: int, callbacks: Sequence[L.Callback] = ()
) -> L.Trainer:
    """Build Lightning's trainer of ``epochs`` epochs, without loggers, for one process or for rank ``me`` of several.

    Sampling and randomness are the loader's and the method's. Raises UserError for a ``trainer`` block that asks for
    what this machine does not have.
    """
    callbacks = [*(instantiate(block) for block in (config["callbacks"] or {}).values() if block), *callbacks]
    options = dict(config["trainer"])
    if isinstance(profiler := options.get("profiler"), Mapping):
        options["profiler"] = instantiate(profiler, dirpath=str(folder))
    if options["strategy"] == "ddp":
        options |= _ddp(me) if me else {"strategy": "auto", "devices": 1}  # the parent of the ranks trains nothing
    try:
        return L.Trainer(
            **options,
            default_root_dir=folder,
            max_epochs=epochs,
            **PRECISION[config["precision"]],
            logger=False,
            callbacks=callbacks,
            use_distributed_sampler=False,
            enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
            log_every_n_steps=50,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error


def _ddp(me: Rank) -> dict[str, Any]:
    """Return the options of one rank. Buffers are alike on all ranks as it is; to broadcast them would cost time."""
    strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), broadcast_buffers=False)
    return {"strategy": strategy, "devices": me.local_world, "num_nodes": me.world // me.local_world}


def quiet_lightning() -> None:
    """Silence Lightning's banners, and its warnings about which a user can do nothing."""
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
