"""Compose configurations in tests as the commands do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skelssl.core.compose import composed, resolved

# Four classes by four subjects under three cameras: 48 clips, made in a moment.
TINY_DATA = ("dataset.source.classes=4", "dataset.source.subjects=4")
TINY = (*TINY_DATA, "callbacks.progress=null")


def compose(command: str, *overrides: str) -> dict[str, Any]:
    """The resolved configuration of ``python -m skelssl.<command> <overrides>``."""
    return resolved(composed(command, overrides))


def train_config(data_root: Path, *overrides: str) -> dict[str, Any]:
    """A training configuration on tiny synthetic data."""
    debug = [] if any(o.startswith("debug=") for o in overrides) else ["debug=smoke"]
    return compose("train", *TINY, *debug, f"data_root='{data_root}'", *overrides)
