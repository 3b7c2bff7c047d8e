"""Build the loggers of the ``logger`` block, such as Weights & Biases and TensorBoard, beside ``metrics.csv``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger

from skelssl.core.errors import UserError
from skelssl.core.identity import run_id


def build_loggers(config: Mapping[str, Any], folder: Path, steps: int | None = None) -> list[Logger]:
    """Build one logger for each entry of ``config["logger"]`` that is not null; W&B's run has the id of ours.

    ``steps`` are those before the checkpoint: TensorBoard then hides what it logged of later ones. Raises UserError
    for TensorBoard where it is not installed.
    """
    loggers = []
    # W&B warns of this where evaluations after a training continue its run, as they should.
    warnings.filterwarnings("ignore", ".*wandb run already in progress.*")
    for name, block in (config.get("logger") or {}).items():
        if block:
            more: dict[str, Any] = {}
            if name == "wandb":
                more = {"id": run_id(config), "resume": "allow"}
            elif name == "tensorboard":
                if not (find_spec("tensorboard") or find_spec("tensorboardX")):
                    raise UserError(
                        "logger=tensorboard: found no tensorboard, expected pip install 'skelssl[tensorboard]'"
                    )
                more = {"purge_step": steps} if steps else {}
            loggers.append(instantiate(block, save_dir=str(folder), **more, _convert_="all"))
    return loggers


def grouped(config: Mapping[str, Any], study: str | None) -> dict[str, Any]:
    """Return ``config`` with ``study`` as the group of its W&B run, unless the user gave one."""
    logger = config.get("logger") or {}
    if not logger.get("wandb") or logger["wandb"].get("group") is not None:
        return dict(config)
    return {**config, "logger": {**logger, "wandb": {**logger["wandb"], "group": study}}}


def end_loggers() -> None:
    """End W&B's run in this process, or the next job of a sweep would write into it."""
    if (wandb := sys.modules.get("wandb")) and wandb.run:
        wandb.finish()
