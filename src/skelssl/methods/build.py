"""Build the method of a configuration, randomly initialised from the seed, and load what a run trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from skelssl.core.runs import LAST_CHECKPOINT
from skelssl.methods.base import Method
from skelssl.pretrained.files import read_state
from skelssl.pretrained.load import load_encoder

SHARED_KEYS = ("name", "recipe", "loader", "monitor", "probe")  # read elsewhere; the rest builds the method


def build_method(config: Mapping[str, Any]) -> Method:
    """Build the LightningModule, randomly initialised from ``seed``.

    The encoder draws first, so that `build_encoder` after the same seed gives the same initial encoder.

    Args:
        config: a resolved configuration with the blocks ``method`` and ``seed``.
    """
    torch.manual_seed(config["seed"])
    parts = {k: v for k, v in config["method"].items() if k not in SHARED_KEYS}
    method: Method = instantiate(parts, seed=config["seed"], _convert_="all")
    return method


def load_trained_method(config: Mapping[str, Any], run: Path) -> Method:
    """Build the method of a run and load its trained encoders, on which some masks depend.

    What is discarded after training is loaded from the last checkpoint; without one it is randomly initialised.

    Args:
        config: the resolved configuration of the run.
        run: its folder.

    Raises:
        UserError: for a run without encoders, and for files that cannot be read.
    """
    method = build_method(config)
    if (run / LAST_CHECKPOINT).exists():
        method.load_state_dict(read_state(run / LAST_CHECKPOINT)["state_dict"])
    for name, encoder in method.encoders().items():
        encoder.load_state_dict(load_encoder(run, representation=name or None).state_dict())
    return method
