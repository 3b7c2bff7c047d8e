"""Writes run folders with evaluations, as small as they can be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from skelssl.results.record import KEYS
from tests.helpers.config import compose

CLASSES = 4


def logits(labels: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """(N, CLASSES) scores whose best class is the label where ``correct``, else another one."""
    return np.eye(CLASSES, dtype=np.float32)[np.where(correct, labels, (labels + 1) % CLASSES)]


def as_published(*overrides: str) -> dict[str, Any]:
    """What ``write_evaluation`` takes for a run of the published setting on the whole of ntu60_xview, but for these."""
    config = compose("train", "dataset=ntu60_xview", *overrides)
    return {"config": config, "n_train": 37_646, "n_test": 18_932}


def write_evaluation(
    run: Path,
    *,
    seed: int = 0,
    correct: np.ndarray | None = None,
    random: np.ndarray | None = None,
    names: list[str] | None = None,
    config: dict[str, Any] | None = None,
    **facts: Any,
) -> Path:
    """A run folder with config.yaml and one evaluation; returns the evaluation's folder."""
    correct = np.array([True, True, True, False]) if correct is None else correct
    random = np.array([True, False, False, False]) if random is None else random
    names = names or [f"clip{i}" for i in range(len(correct))]
    folder = run / "eval" / facts.get("protocol", "linear") / f"id{seed}"
    folder.mkdir(parents=True)
    own = {"method": {"name": "pstl"}, "dataset": {"name": "ntu60_xview"}, "seed": seed, **(config or {})}
    (run / "config.yaml").write_text(yaml.safe_dump(own))
    result = dict.fromkeys(KEYS) | {
        "method": "pstl", "dataset": "ntu60_xview", "protocol": "linear", "mode": "paper", "stream": "joint",
        "seed": seed, "n_test": len(correct), "top1": float(correct.mean()), "random_init_top1": float(random.mean()),
        "difference": {"mean": 0.5, "low": 0.25, "high": 0.75}, **facts,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    labels = np.arange(len(correct)) % CLASSES
    arrays = {"logits": logits(labels, correct), "random_init_logits": logits(labels, random)}
    np.savez(folder / "scores.npz", names=np.array(names), labels=labels, **arrays)
    return folder
