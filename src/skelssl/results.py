"""What an evaluation leaves behind: ``result.json`` and ``scores.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.data.files import atomic_file, write_json
from skelssl.protocols.scores import Scores
from skelssl.protocols.statistics import paired_difference, spread

# Every result has every key; null where it has no meaning.
KEYS = (
    "method", "dataset", "protocol", "mode", "setting", "stream", "seed", "top1", "top5", "top1_best_epoch", "n_train",
    "n_test", "labels_used", "random_init_top1", "data_fingerprint", "checkpoint_sha256", "git_commit", "seconds",
)  # fmt: skip


def write_result(
    folder: Path, facts: Mapping[str, Any], scores: Scores, baseline: Scores | None, names: Sequence[str]
) -> dict[str, Any]:
    """Writes one evaluation; accuracies are fractions, exact over clips, of the last epoch. Returns ``result.json``."""
    result = {key: facts.get(key) for key in KEYS}
    result |= {"top1": scores.top1, "top5": scores.top5, "top1_best_epoch": scores.best_epoch_top1}
    arrays: dict[str, Any] = {
        "names": np.array(names),
        "labels": scores.label.cpu().numpy(),
        "logits": scores.logits.cpu().numpy(),
    }
    result["difference"] = None
    if baseline is not None:
        arrays["random_init_logits"] = baseline.logits.cpu().numpy()
        result["random_init_top1"] = baseline.top1
        result["difference"] = paired_difference(scores.correct.cpu().numpy(), baseline.correct.cpu().numpy())._asdict()
    result["recipe"] = facts["recipe"]
    with atomic_file(folder / "scores.npz") as file:
        np.savez_compressed(file, **arrays)
    write_json(folder / "result.json", result)  # last, so that its presence means the evaluation is whole
    return result


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of one cell."""
    summary: dict[str, Any] = {key: results[0][key] for key in ("method", "dataset", "protocol", "mode", "stream")}
    summary["seeds"] = [r["seed"] for r in results]
    for key in ("top1", "top5", "random_init_top1"):
        values = [r[key] for r in results if r[key] is not None]
        summary[key] = spread(values)._asdict() if values else None
    return summary


def one_line(result: Mapping[str, Any]) -> str:
    """The figure a person waits for."""
    text = f"{result['protocol']:8s} top-1 {100 * result['top1']:5.1f} %"
    if (d := result["difference"]) is not None:
        text += (
            f"   random init {100 * result['random_init_top1']:5.1f} %   difference {100 * d['mean']:+.1f} "
            f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}] points (95 %, over {result['n_test']} test clips)"
        )
    return text
