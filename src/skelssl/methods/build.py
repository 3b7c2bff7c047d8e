"""Build the method of a configuration, its weights drawn from the seed, and load what a run trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from skelssl.core.runs import LAST
from skelssl.methods.base import Method
from skelssl.pretrained.files import read_state
from skelssl.pretrained.load import load_encoder

SHARED_KEYS = ("name", "recipe", "loader", "monitor", "probe")  # read by others; the rest builds the method


def build_method(config: Mapping[str, Any]) -> Method:
    """The LightningModule, its weights drawn from ``seed``; the encoder draws first, so its start can be made alone."""
    torch.manual_seed(config["seed"])
    parts = {k: v for k, v in config["method"].items() if k not in SHARED_KEYS}
    method: Method = instantiate(parts, seed=config["seed"], _convert_="all")
    return method


def load_trained_method(config: Mapping[str, Any], run: Path) -> Method:
    """The method of a run with its trained encoders, which some masks look at. What is thrown away after training is as
    the last checkpoint has it; without one, as the seed draws it.
    """
    method = build_method(config)
    if (run / LAST).exists():
        method.load_state_dict(read_state(run / LAST)["state_dict"])
    for name, encoder in method.encoders().items():
        encoder.load_state_dict(load_encoder(run, representation=name or None).state_dict())
    return method
