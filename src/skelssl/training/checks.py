"""Check a training's configuration before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError, check_flag
from skelssl.core.runs import LAST_CHECKPOINT
from skelssl.runtime.compile import check_compiler
from skelssl.runtime.ranks import launched_rank
from skelssl.training.resume import read_resumable
from skelssl.training.trainer import PRECISION

MATMUL = ("highest", "high", "medium")


def check_training(config: Mapping[str, Any]) -> None:
    """Raise UserError for values that no later step would name as clearly."""
    if not isinstance(config["seed"], int) or isinstance(config["seed"], bool) or config["seed"] < 0:
        raise UserError(f"seed: found {config['seed']!r}, expected a whole number of at least 0")
    if config["precision"] not in PRECISION:
        raise UserError(f"precision: found {config['precision']!r}, expected one of {', '.join(PRECISION)}")
    check_ranks(config["trainer"])
    if isinstance(config["resume"], str):
        if not Path(config["resume"]).is_file():
            raise UserError(
                f"resume: found no file {config['resume']}, expected a checkpoint such as RUN/{LAST_CHECKPOINT}"
            )
        read_resumable(Path(config["resume"]))
    if config["matmul_precision"] not in MATMUL:
        raise UserError(f"matmul_precision: found {config['matmul_precision']!r}, expected one of {', '.join(MATMUL)}")
    check_flag("compile", config["compile"])
    if config["compile"]:
        check_compiler()


def check_ranks(trainer: Mapping[str, Any]) -> None:
    """Raise UserError for several processes without ``trainer=ddp``, and for a strategy other than auto and ddp."""
    me, devices = launched_rank(), trainer["devices"]
    if trainer["strategy"] not in ("auto", "ddp"):
        raise UserError(f"trainer.strategy: found {trainer['strategy']!r}, expected auto or ddp")
    if trainer["strategy"] == "auto":
        if devices != 1:
            raise UserError(f"trainer.devices: found {devices}, expected 1; trainer=ddp takes several")
        if me and me.world > 1:
            raise UserError(f"trainer: found one process among {me.world} ranks, expected trainer=ddp")
    elif me and devices not in ("auto", me.local_world):
        raise UserError(f"trainer.devices: found {devices}, expected auto or the {me.local_world} ranks of this node")
