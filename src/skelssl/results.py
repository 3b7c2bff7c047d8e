"""What an evaluation leaves behind: ``result.json`` and ``scores.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.data.files import atomic_file, write_json
from skelssl.protocols.scores import Scores
from skelssl.protocols.statistics import paired_difference, spread
from skelssl.protocols.subsets import SubsetScores

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
        if baseline.extra:
            result["random_init"] = dict(baseline.extra)
    result["recipe"] = facts["recipe"]
    result |= scores.extra
    if isinstance(scores, SubsetScores):
        result["labels_used"] = len(scores.subset["names"])
        write_json(folder / "subset.json", scores.subset)
    with atomic_file(folder / "scores.npz") as file:
        np.savez_compressed(file, **arrays)
    write_json(folder / "result.json", result)  # last, so that its presence means the evaluation is whole
    return result


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and 95 % interval over the seeds of one cell."""
    summary: dict[str, Any] = {key: results[0][key] for key in ("method", "dataset", "protocol", "mode", "stream")}
    summary["seeds"] = [r["seed"] for r in results]
    for key in ("top1", "top5", "random_init_top1"):
        values = [r[key] for r in results if r[key] is not None]
        summary[key] = spread(values)._asdict() | _seed_interval(values) if values else None
    return summary


def _seed_interval(values: Sequence[float]) -> dict[str, float]:
    """Student's 95 % interval of the mean of n > 1 values: another set of seeds would have its mean in there.

    With t = √(n - 1) tan θ the density is that of cos^(n - 2) θ, so the quantile needs no table.
    """
    n = len(values)
    theta = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(theta) ** (n - 2)
    share = np.cumsum(density) - (density + density[0]) / 2  # by trapezoids, from the middle outwards
    t = np.sqrt(n - 1) * np.tan(np.interp(0.95, share / share[-1], theta))
    half = t * np.std(values, ddof=1) / np.sqrt(n)
    return {"low": float(np.mean(values) - half), "high": float(np.mean(values) + half)}


def one_line(result: Mapping[str, Any]) -> str:
    """The figure a person waits for."""
    text = f"{result['protocol']:8s} top-1 {100 * result['top1']:5.1f} %"
    if (d := result["difference"]) is not None:
        text += (
            f"   random init {100 * result['random_init_top1']:5.1f} %   difference {100 * d['mean']:+.1f} "
            f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}] points (95 %, over {result['n_test']} test clips)"
        )
    return text
