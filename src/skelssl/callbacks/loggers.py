"""The loggers beside ``metrics.csv``: those of the ``logger`` block, such as Weights & Biases."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger

from skelssl.runs import run_id


def build_loggers(config: Mapping[str, Any], folder: Path) -> list[Logger]:
    """One logger for each entry of ``config["logger"]`` that is not null; W&B's run has the id of ours."""
    loggers = []
    # Said where the evaluations after a training go on with its run of W&B, as they should.
    warnings.filterwarnings("ignore", ".*wandb run already in progress.*")
    for name, block in (config.get("logger") or {}).items():
        if block:
            same = {"id": run_id(config), "resume": "allow"} if name == "wandb" else {}
            loggers.append(instantiate(block, save_dir=str(folder), **same, _convert_="all"))
    return loggers


def end_loggers() -> None:
    """Ends W&B's run in this process, or the next job of a sweep would write into it."""
    if (wandb := sys.modules.get("wandb")) and wandb.run:
        wandb.finish()
