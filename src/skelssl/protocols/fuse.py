"""``protocol=fusion checkpoint=[A,B,C]``: evaluates each run, or reads what stands there, and fuses the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skelssl.core.errors import UserError
from skelssl.core.runs import git_commit, load_config
from skelssl.pretrained.files import joint_digest, run_of
from skelssl.protocols.bench import Done, check_evaluation, evaluate, short_hash
from skelssl.protocols.frozen import COVERAGE
from skelssl.protocols.fusion import fuse, read_part, stream_name, weights_of
from skelssl.protocols.plan import read_protocols
from skelssl.results.published import departures
from skelssl.results.record import one_line, several_lines, summarise, write_result, write_summary
from skelssl.runtime.ranks import agree, say

SHARED = ("dataset", "protocol", "mode")  # what the results of all runs must agree in


def fuse_runs(config: Mapping[str, Any]) -> list[Done]:
    """One fused result for each result of the inner protocol (``protocol.of``), beside those of the first run."""
    protocol = config["protocol"]
    inner = read_protocols([protocol["of"]], "protocol.of")
    runs = _runs(config)
    found = [evaluate({**config, **run, "protocol": inner[0], "weights": None}, inner) for run in runs]
    if len({len(own) for own in found}) > 1:
        raise UserError("seeds: found runs with seeds of their own in different numbers, expected seeds=[...]")
    home = Path(found[0][0].folder).parents[1] / "fusion"
    fused = [_fused(home, parts, config) for parts in zip(*found, strict=True)]
    for done in fused:
        say(f"fused    {one_line(done.result)}")
    if len(fused) > 1:
        summary = summarise([done.result for done in fused])
        write_summary(home / short_hash({"results": [done.folder.name for done in fused]}), summary)
        say(several_lines(summary))
    return fused


def _runs(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Checkpoint and representation of each run."""
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


def _fused(home: Path, parts: Sequence[Done], config: Mapping[str, Any]) -> Done:
    results = [part.result for part in parts]
    for key in SHARED:
        if len(values := dict.fromkeys(str(r[key]) for r in results)) > 1:
            raise UserError(f"checkpoint: found {key} {' and '.join(values)}, expected one for all runs to fuse")
    streams = [r["stream"] for r in results]
    published = config["protocol"]["recipe"]["weights"]
    weights = weights_of(config["weights"], published, streams)
    agree(True)  # rank 0 has written what all ranks read now
    scores, baseline = fuse([read_part(part.folder) for part in parts], weights)
    votes = any(r["calibration_error"] is None for r in results)
    scores = replace(scores, votes=votes, test_selected=any(r["test_touched_for_selection"] for r in results))
    sources = [{"result": part.folder.name, "method": r["method"], "stream": r["stream"], "setting": r["setting"],
                "checkpoint_sha256": r["checkpoint_sha256"], "top1": r["top1"], "weight": w,
               "departures": _departures(part.folder)}
               for part, r, w in zip(parts, results, weights, strict=True)]  # fmt: skip
    usual = config["weights"] is None and len(set(streams)) == len(streams)
    same = {key: _same(results, key) for key in (*SHARED, *COVERAGE, "n_train", "labels_used", "data_fingerprint")}
    facts = {
        **same, "method": _joined(results, "method"), "stream": stream_name(streams), "seed": results[0]["seed"],
        "setting": ", ".join(filter(None, [_joined(results, "setting"), None if usual else _said(weights)])) or None,
        "checkpoint_sha256": joint_digest([r["checkpoint_sha256"] for r in results]), "encoder": _cost(results),
        "recipe": {"fusion": sources}, "n_test": len(scores.label), "git_commit": git_commit(),
        "seconds": round(sum(r["seconds"] for r in results), 2),
    }  # fmt: skip
    folder = home / short_hash({"sources": sources, "shared": [results[0][key] for key in SHARED]})
    names = read_part(parts[0].folder).names.tolist()
    class_names = [own["name"] for own in results[0]["per_class"]]
    return Done(folder, write_result(folder, facts, scores, baseline, names, class_names), fresh=True)


def _departures(folder: Path) -> list[str]:
    """Keys in which the run that was evaluated is not the published one; none of a file without a run."""
    run = next(path.parent for path in folder.parents if path.name == "eval")
    return list(departures(load_config(run))) if (run / "config.yaml").exists() else []


def _same(results: Sequence[Mapping[str, Any]], key: str) -> Any:
    """What all results say, else nothing."""
    return results[0][key] if all(r[key] == results[0][key] for r in results) else None


def _cost(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all encoders together; what they were timed with where it is the same for all."""
    costs = [r["encoder"] for r in results]
    added = {key: sum(cost[key] for cost in costs) for key in ("parameters", "gflops", "ms_per_sample")}
    return {key: added[key] if key in added else _same(costs, key) for key in costs[0]}


def _joined(results: Sequence[Mapping[str, Any]], key: str) -> str | None:
    return " + ".join(dict.fromkeys(str(r[key]) for r in results if r[key] is not None)) or None


def _said(weights: Sequence[float]) -> str:
    return f"weights {' '.join(f'{w:g}' for w in weights)}"
