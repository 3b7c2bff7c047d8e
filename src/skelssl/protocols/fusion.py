"""``protocol=fusion checkpoint=[A,B,C]``: add up the scores that several runs give the same test clips.

Each run is evaluated first, or its stored result is read. The scores are joined by clip name and summed with weights:
AimCLR adds the raw outputs of the linear layers of joint, bone and motion with weights 0.6, 0.6 and 0.4. PSTL builds on
AimCLR's code, and its own weights could not be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.runs import git_commit, load_config
from skelssl.pretrained.files import joint_digest, run_of
from skelssl.protocols.bench import Evaluation, check_evaluation, evaluate, short_hash
from skelssl.protocols.frozen import COVERAGE
from skelssl.protocols.plan import read_protocols
from skelssl.results.published import departures
from skelssl.results.record import result_line, summarise, summary_lines, write_result, write_summary
from skelssl.results.scores import Scores
from skelssl.runtime.ranks import agree, say

SHARED = ("dataset", "protocol", "mode")  # what the results of all runs must agree in


def fuse_runs(config: Mapping[str, Any]) -> list[Evaluation]:
    """Evaluate each run under the inner protocol (``protocol.of``) and fuse the scores seed by seed.

    Nothing is trained beside what the inner protocol trains. Its stored results are read where they exist.

    Args:
        config: A resolved ``evaluate.yaml`` whose ``checkpoint`` is a list.

    Returns:
        One fused evaluation for each seed, stored in ``eval/fusion`` of the first run.

    Raises:
        UserError: The runs differ in dataset, protocol, mode or test clips, or the weights do not fit them.
    """
    protocol = config["protocol"]
    inner = read_protocols([protocol["of"]], "protocol.of")
    runs = _runs(config)
    found = [evaluate({**config, **run, "protocol": inner[0], "weights": None}, inner) for run in runs]
    if len({len(own) for own in found}) > 1:
        raise UserError("seeds: found runs with different numbers of seeds, expected seeds=[...]")
    home = Path(found[0][0].folder).parents[1] / "fusion"
    fused = [_fused(home, parts, config) for parts in zip(*found, strict=True)]
    for done in fused:
        say(f"fused    {result_line(done.result)}")
    if len(fused) > 1:
        summary = summarise([done.result for done in fused])
        write_summary(home / short_hash({"results": [done.folder.name for done in fused]}), summary)
        say(summary_lines(summary))
    return fused


def _runs(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return checkpoint and representation of each run."""
    paths, names = config["checkpoint"], config["representation"]
    if not isinstance(paths, list) or len(paths) < 2:
        raise UserError(f"checkpoint: found {paths!r}, expected several runs, [A,B,C], to fuse")
    names = names if isinstance(names, list) else [names] * len(paths)
    if len(names) != len(paths):
        raise UserError(f"representation: found {len(names)} of them, expected {len(paths)}, one for each checkpoint")
    runs = [{"checkpoint": str(run_of(Path(p))), "representation": n} for p, n in zip(paths, names, strict=True)]
    for run in runs:  # before the first of them is evaluated
        check_evaluation({**config, **run})
    return runs


def _fused(home: Path, parts: Sequence[Evaluation], config: Mapping[str, Any]) -> Evaluation:
    results = [part.result for part in parts]
    for key in SHARED:
        if len(values := dict.fromkeys(str(r[key]) for r in results)) > 1:
            raise UserError(f"checkpoint: found {key} {' and '.join(values)}, expected one for all runs to fuse")
    streams = [r["stream"] for r in results]
    published = config["protocol"]["recipe"]["weights"]
    weights = fusion_weights(config["weights"], published, streams)
    agree(True)  # rank 0 has written what all ranks read now
    scores, baseline = fuse_scores([read_run_scores(part.folder) for part in parts], weights)
    votes = any(r["calibration_error"] is None for r in results)
    scores = replace(scores, votes=votes, test_selected=any(r["test_touched_for_selection"] for r in results))
    sources = [{"result": part.folder.name, "method": r["method"], "stream": r["stream"], "setting": r["setting"],
                "checkpoint_sha256": r["checkpoint_sha256"], "top1": r["top1"], "weight": w,
               "departures": _departures(part.folder)}
               for part, r, w in zip(parts, results, weights, strict=True)]  # fmt: skip
    usual = config["weights"] is None and len(set(streams)) == len(streams)
    same = {key: _same(results, key) for key in (*SHARED, *COVERAGE, "n_train", "labels_used", "data_fingerprint")}
    facts = {
        **same, "method": _joined(results, "method"), "stream": fused_stream_name(streams), "seed": results[0]["seed"],
        "setting": ", ".join(filter(None, [_joined(results, "setting"), None if usual else _said(weights)])) or None,
        "checkpoint_sha256": joint_digest([r["checkpoint_sha256"] for r in results]), "encoder": _cost(results),
        "recipe": {"fusion": sources}, "n_test": len(scores.label), "git_commit": git_commit(),
        "seconds": round(sum(r["seconds"] for r in results), 2),
    }  # fmt: skip
    folder = home / short_hash({"sources": sources, "shared": [results[0][key] for key in SHARED]})
    names = read_run_scores(parts[0].folder).names.tolist()
    class_names = [own["name"] for own in results[0]["per_class"]]
    return Evaluation(folder, write_result(folder, facts, scores, baseline, names, class_names), fresh=True)


def _departures(folder: Path) -> list[str]:
    """Return the keys in which the evaluated run departs from the published one; none for a file without a run."""
    run = next(path.parent for path in folder.parents if path.name == "eval")
    return list(departures(load_config(run))) if (run / "config.yaml").exists() else []


def _same(results: Sequence[Mapping[str, Any]], key: str) -> Any:
    """Return the value that all results share, else None."""
    return results[0][key] if all(r[key] == results[0][key] for r in results) else None


def _cost(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum the cost of all encoders; the conditions of the timing are kept where all share them."""
    costs = [r["encoder"] for r in results]
    added = {key: sum(cost[key] for cost in costs) for key in ("parameters", "gflops", "ms_per_sample")}
    return {key: added[key] if key in added else _same(costs, key) for key in costs[0]}


def _joined(results: Sequence[Mapping[str, Any]], key: str) -> str | None:
    return " + ".join(dict.fromkeys(str(r[key]) for r in results if r[key] is not None)) or None


def _said(weights: Sequence[float]) -> str:
    return f"weights {' '.join(f'{w:g}' for w in weights)}"


@dataclass(frozen=True)
class RunScores:
    """Scores of one run: the rows of its ``scores.npz`` by ascending clip name."""

    where: Path
    names: NDArray[np.str_]  # (N,) ascending
    labels: NDArray[np.int64]  # (N,)
    logits: NDArray[np.float32]  # (N, classes)
    random_init: NDArray[np.float32] | None  # (N, classes), None where it was not evaluated


def read_run_scores(folder: Path) -> RunScores:
    """Read the scores of one evaluation; raise UserError where they cannot be read."""
    path = folder / "scores.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            order = np.argsort(file["names"])
            random = file["random_init_logits"][order] if "random_init_logits" in file else None
            names, labels, logits = (file[key][order] for key in ("names", "labels", "logits"))
            return RunScores(folder, names, labels, logits, random)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected scores; rerun=true recomputes them") from error


def fuse_scores(parts: Sequence[RunScores], weights: Sequence[float]) -> tuple[Scores, Scores | None]:
    """Return Σ_r w_r · logits_r of each clip, and the same of the random initialisations where all runs have one.

    Args:
        parts: Scores of R runs on the same N clips.
        weights: The R weights.

    Raises:
        UserError: The runs differ in clips, labels or the number of classes.
    """
    for part in parts[1:]:
        _check_alike(parts[0], part)
    label, index = torch.from_numpy(parts[0].labels), torch.arange(len(parts[0].labels))

    def weighted(logits: Sequence[NDArray[np.float32]]) -> Scores:
        total = sum(w * one.astype(np.float64) for w, one in zip(weights, logits, strict=True))
        return Scores(torch.from_numpy(np.asarray(total)).float(), label, index)

    random = [part.random_init for part in parts if part.random_init is not None]
    return weighted([part.logits for part in parts]), weighted(random) if len(random) == len(parts) else None


def _check_alike(first: RunScores, other: RunScores) -> None:
    if first.logits.shape[1] != other.logits.shape[1]:
        raise UserError(
            f"checkpoint: found {other.logits.shape[1]} classes in {other.where}, expected the "
            f"{first.logits.shape[1]} of {first.where}"
        )
    if len(alone := np.setxor1d(first.names, other.names)):
        raise UserError(
            f"checkpoint: found {len(alone)} test clips in only one of {first.where} and {other.where} "
            f"(the first is {alone[0]}), expected the same clips in every run"
        )
    if len(odd := np.flatnonzero(first.labels != other.labels)):
        raise UserError(
            f"checkpoint: found {first.names[odd[0]]} with label {other.labels[odd[0]]} in {other.where}, expected "
            f"{first.labels[odd[0]]} as in {first.where}"
        )


def fusion_weights(asked: Any, by_stream: Mapping[str, float], streams: Sequence[str]) -> list[float]:
    """Return one weight for each run.

    Args:
        asked: ``weights=`` of the command, in the order of the runs; None: the published ones, and 1 for every run
            where all have the same stream.
        by_stream: The published weight of each stream.
        streams: The stream of each run.

    Raises:
        UserError: There is another number of weights, one is no finite number, or a stream has no published weight.
    """
    if asked is not None:
        good = isinstance(asked, list) and len(asked) == len(streams) and all(map(_number, asked))
        if not good or not any(asked):
            raise UserError(f"weights: found {asked!r}, expected {len(streams)} numbers, one for each checkpoint")
        return [float(w) for w in asked]
    if len(set(streams)) == 1:
        return [1.0] * len(streams)
    if unknown := [stream for stream in streams if stream not in by_stream]:
        raise UserError(f"weights: found none for stream {unknown[0]}, expected weights=[...], one for each checkpoint")
    return [float(by_stream[stream]) for stream in streams]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def fused_stream_name(streams: Sequence[str]) -> str:
    """Return the name of the fused stream in tables: ``3s`` for joint, motion and bone."""
    names = sorted(set(streams))
    return "3s" if sorted(streams) == ["bone", "joint", "motion"] else "+".join(names)
