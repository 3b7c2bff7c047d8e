"""Find the checkpoint that a training resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError
from skelssl.core.runs import LAST_CHECKPOINT
from skelssl.pretrained.files import read_state


def resume_from(config: Mapping[str, Any], folder: Path) -> Path | None:
    """The checkpoint to go on from: the run's own, else the one the user names, else none."""
    last = folder / LAST_CHECKPOINT
    if config["resume"] and last.exists():
        print(f"resuming from {last}")
        return last
    if not isinstance(config["resume"], str):
        return None
    return Path(config["resume"])


def read_resumable(path: Path) -> dict[str, Any]:
    """A training checkpoint of ours; raises UserError for any other file."""
    state = read_state(path)
    if not {"global_step", "epoch", "row", "sums", "state_dict"} <= state.keys():
        raise UserError(f"{path}: found no training state, expected a checkpoint such as RUN/{LAST_CHECKPOINT}")
    return state
