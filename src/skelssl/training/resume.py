"""Find the checkpoint that a training resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError
from skelssl.core.runs import LAST_CHECKPOINT
from skelssl.pretrained.files import read_state


def resume_from(config: Mapping[str, Any], folder: Path) -> Path | None:
    """Return the checkpoint to resume from: the run's own, else the one that the user names, else None."""
    last = folder / LAST_CHECKPOINT
    if config["resume"] and last.exists():
        print(f"resuming from {last}")
        return last
    return Path(config["resume"]) if isinstance(config["resume"], str) else None


def read_resumable(path: Path) -> dict[str, Any]:
    """Read a training checkpoint of ours; raise UserError for any other file."""
    state = read_state(path)
    if not {"global_step", "epoch", "row", "sums", "state_dict"} <= state.keys():
        raise UserError(f"{path}: found no training state, expected a checkpoint such as RUN/{LAST_CHECKPOINT}")
    return state
