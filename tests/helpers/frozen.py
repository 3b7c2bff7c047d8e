"""Encoders of every kind at toy size, on four classes of synthetic clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from skelssl.data.module import open_dataset
from skelssl.pretrained.foreign import foreign_about
from skelssl.pretrained.load import build_encoder
from skelssl.protocols.frozen import Frozen
from tests.helpers.config import train_config

# name: method, its key of the encoder, overrides of the encoder, frames of the views
ENCODERS: dict[str, tuple[str, str | None, dict[str, Any], int | None]] = {
    "STGCN": ("pstl", None, {"hidden": 2}, None),
    "GRU": ("skeleton_contrast", "seq", {"hidden": 4, "layers": 2}, 16),
    "AGCN": ("skeleton_contrast", "graph", {"hidden": 4}, 16),
    "HCN": ("skeleton_contrast", "image", {"hidden": 2, "frames": 16}, 16),
    "Transformer": ("mamp", None, {"frames": 12, "hidden": 8, "depth": 1, "heads": 2}, 12),
}


def frozen_of(name: str, data_root: Path, *, stream: str = "joint", limit: int | None = 2) -> Frozen:
    """The encoder ``name`` as seed 0 draws it, with its method's views and recipe."""
    method, key, overrides, frames = ENCODERS[name]
    config, about = train_config(data_root, f"method={method}"), foreign_about(method, stream)
    block = about["encoder"][key] if key else about["encoder"]
    about["encoder"] = {k: v for k, v in block.items() if k != "_partial_"} | overrides
    if frames:
        about["view"] = {name: view | {"frames": frames} for name, view in about["view"].items()}
    torch.manual_seed(0)
    encoder = build_encoder(about)
    data = open_dataset(config["dataset"], about["recipe"], data_root)
    return Frozen(encoder, data, device=torch.device("cpu"), precision="fp32", limit=limit)
