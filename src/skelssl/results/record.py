"""Write the files of an evaluation: ``result.json`` and ``scores.npz``, and ``summary.json`` for several seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.files import atomic_file, write_json
from skelssl.results.metrics import score_metrics
from skelssl.results.scores import Scores, SubsetScores
from skelssl.results.statistics import paired_difference, seed_statistics
from skelssl.runtime.collectives import rank

# Every result has every key; null where it has no meaning.
KEYS = (
    "method", "dataset", "protocol", "mode", "setting", "stream", "seed", "top1", "top5", "top1_best_epoch", "n_train",
    "n_test", "labels_used", "random_init_top1", "data_fingerprint", "checkpoint_sha256", "git_commit", "seconds",
)  # fmt: skip
MORE = (
    "test_touched_for_selection", "chosen", "random_init_chosen", "mean_class_accuracy", "calibration_error",
    "random_init_mean_class_accuracy", "random_init_extra", "difference", "encoder", "recipe",
    "classes_without_training", "test_clips_without_training", "per_class", "confusion",
)  # fmt: skip
SUMMARISED = ("top1", "top5", "mean_class_accuracy", "calibration_error", "random_init_top1")


def write_result(
    folder: Path,
    facts: Mapping[str, Any],
    scores: Scores,
    baseline: Scores | None,
    names: Sequence[str],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Write the files of one evaluation.

    Args:
        folder: Where ``result.json``, ``scores.npz`` and, of labelled subsets, ``subset.json`` are written.
        facts: Keys of the result that do not follow from the scores.
        scores: Scores of the N test clips.
        baseline: Those of the random initialisation, where it was evaluated.
        names: Names of the N clips.
        class_names: Names in the order of the classes.

    Returns:
        ``result.json``; accuracies are fractions, exact over clips, of the last epoch.
    """
    found = {**facts, **score_metrics(scores, class_names)}
    if baseline is not None:
        found["random_init_top1"] = baseline.top1
        found["random_init_mean_class_accuracy"] = score_metrics(baseline, class_names)["mean_class_accuracy"]
        found["random_init_extra"] = dict(baseline.extra) or None
        found["difference"] = paired_difference(scores.correct.cpu().numpy(), baseline.correct.cpu().numpy())._asdict()
    if isinstance(scores, SubsetScores):
        found["labels_used"] = len(scores.subset["names"])
    result = {key: found.get(key) for key in (*KEYS, *MORE)} | dict(scores.extra)
    if rank() == 0:
        if isinstance(scores, SubsetScores):
            write_json(folder / "subset.json", scores.subset)
        _write_scores(folder / "scores.npz", scores, baseline, names)
        with atomic_file(folder / "result.json", "w") as file:  # last: its presence means the evaluation is complete
            file.write(_lines(result) + "\n")
    return result


def _write_scores(path: Path, scores: Scores, baseline: Scores | None, names: Sequence[str]) -> None:
    arrays: dict[str, Any] = {
        "names": np.array(names),
        "labels": scores.label.cpu().numpy(),
        "logits": scores.logits.cpu().numpy(),
    }
    if baseline is not None:
        arrays["random_init_logits"] = baseline.logits.cpu().numpy()
    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)


def _lines(value: Any, indent: str = "") -> str:
    """Return readable JSON: each element of a list, such as a row of the confusion matrix, is on one line."""
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        parts = [f"{inner}{json.dumps(key)}: {_lines(part, inner)}" for key, part in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], Mapping | list):
        return "[\n" + ",\n".join(inner + json.dumps(part, allow_nan=False) for part in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json`` on rank 0."""
    if rank() == 0:
        write_json(folder / "summary.json", summary)


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean, sample standard deviation and 95 % interval of each metric over the n > 1 seeds of one cell."""
    shared = ("method", "dataset", "protocol", "mode", "setting", "stream")
    summary: dict[str, Any] = {key: results[0].get(key) for key in shared}
    summary |= {"seeds": [r["seed"] for r in results], "interval": "95 %, Student's t over the seeds"}
    for key in SUMMARISED:
        values = [r[key] for r in results if r.get(key) is not None]
        summary[key] = seed_statistics(values)._asdict() if len(values) == len(results) else None
    return summary


def summary_lines(summary: Mapping[str, Any]) -> str:
    """Return the printed summary of several seeds, in per cent."""
    lines = [f"{summary['protocol']:8s} over seeds {', '.join(map(str, summary['seeds']))} ({summary['interval']})"]
    for key in SUMMARISED:
        if (s := summary[key]) is not None:
            mean, sd, low, high = (100 * s[part] for part in ("mean", "sd", "low", "high"))
            lines.append(f"  {key:20s} {mean:5.1f} ± {sd:.1f} [{low:.1f}, {high:.1f}] %")
    return "\n".join(lines)


def result_line(result: Mapping[str, Any]) -> str:
    """Return the printed line of one result: top-1, random init and their difference."""
    text = f"{result['protocol']:8s} top-1 {100 * result['top1']:5.1f} %"
    if (d := result["difference"]) is not None:
        text += (
            f"   random init {100 * result['random_init_top1']:5.1f} %   difference {100 * d['mean']:+.1f} "
            f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}] points (95 %, over {result['n_test']} test clips)"
        )
    return text
