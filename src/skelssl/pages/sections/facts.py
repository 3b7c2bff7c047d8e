"""What was learnt, how it went, and what the run was: results, curves, confusions, configuration."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelssl.core.files import read_json
from skelssl.pages.figures.confusion import confusion
from skelssl.pages.figures.counts import class_table, fact_table
from skelssl.pages.figures.curves import loss_curve
from skelssl.pages.figures.lost_joints import CAPTION as LOST
from skelssl.pages.figures.lost_joints import curves_of, lost_joints_figure
from skelssl.pages.figures.results import accuracy_bars, results_table
from skelssl.pages.figures.settings import settings
from skelssl.pages.run import Look, Missing, Section
from skelssl.results.aggregate import gather
from skelssl.results.read import Result, read_metrics

BARS = (
    "Top-1 accuracy of frozen features, in per cent: the pre-trained encoder, the same encoder before any "
    "training, and the raw coordinates. A tick marks a published number of exactly this cell."
)
NO_RESULT = "This run has not been evaluated."


def learnt(look: Look) -> Section:
    """Bars of every result."""
    return Section(BARS, accuracy_bars(gather(_results(look, "knn")), look.floors))


def table(look: Look) -> Section:
    """Every figure of every result."""
    caption = (
        "Accuracies in per cent; random init is the same encoder before any training, under the same protocol; the "
        "interval is that of the difference."
    )
    return Section(caption, results_table(gather(_results(look, "linear"))))


def _results(look: Look, protocol: str) -> list[Result]:
    if not look.results:
        raise Missing(NO_RESULT, evaluation(look, protocol))
    return look.results


def evaluation(look: Look, protocol: str) -> str:
    """The command that evaluates the run."""
    return f"python -m skelssl.evaluate protocol={protocol} checkpoint={look.run}"


def training(look: Look) -> Section:
    """Whatever the run logged; evaluations are single figures."""
    path = look.run / "metrics.csv"
    rows = read_metrics(path) if path.exists() else []
    rows = [{k: v for k, v in row.items() if not k.startswith("eval/")} for row in rows]
    if not any(row.keys() - {"epoch", "step"} for row in rows):
        raise Missing("This run has logged nothing yet.", "python -m skelssl.train, with the settings below")
    caption = (
        "Everything the run logged, over its steps. The band spans the smallest and the largest value where many steps "
        "share a pixel."
    )
    return Section(caption, loss_curve(rows))


def lost_joints(look: Look) -> Section:
    """Accuracy over missing joints."""
    if not (curves := curves_of(look.results)):
        raise Missing("Nobody has measured what is left without some joints.", evaluation(look, "lost_joints"))
    return Section(LOST, lost_joints_figure(curves))


def confusions(look: Look) -> Section:
    """Which classes a protocol takes for which, the linear one where it was run."""
    name = look.config["dataset"]["name"]
    own = [r for r in look.results if r.facts["dataset"] == name and r.path.with_name("scores.npz").exists()]
    if not own:
        raise Missing(NO_RESULT, evaluation(look, "linear"))
    chosen = next((r for r in own if r.facts["protocol"] == "linear"), own[0])
    names = look.data.class_names
    with np.load(chosen.path.with_name("scores.npz"), allow_pickle=False) as scores:
        cells = scores["labels"] * len(names) + scores["logits"].argmax(1)
    matrix = np.bincount(cells, minlength=len(names) ** 2).reshape(len(names), -1)
    caption = (
        f"Of the {chosen.facts['protocol']} protocol, seed {chosen.facts['seed']}. Rows are true classes, columns what "
        "was predicted; colour is the share of the row. Touch a cell to read it."
    )
    return Section(caption, confusion(matrix, names))


def about(look: Look) -> Section:
    """Configuration, counts and versions."""
    facts = [("folder", str(look.run)), ("run id", look.run.name), *_of_run(look)]
    return Section("", fact_table(facts) + settings(look.config))


def _of_run(look: Look) -> list[tuple[str, str]]:
    path = look.run / "run.json"
    made: dict[str, Any] = read_json(path) if path.exists() else {}
    if not made:
        return [("state", "not finished: the same command goes on with it")]
    facts = [
        ("seed", str(made["seed"])),
        ("trained for", f"{made['epochs']:,} epochs, {made['steps']:,} steps, {made['seconds']:,.0f} s"),
        ("peak memory", f"{made['peak_memory_mb']:,} MB" if made.get("peak_memory_mb") else "not known"),
        ("data fingerprint", str(made["data_fingerprint"])),
        ("commit", made["git_commit"] or "not known"),
    ]
    return [*facts, ("versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items()))]


def clips(look: Look) -> Section:
    """How many clips train and test, by class."""
    data = look.data
    path = look.run / "run.json"
    made = read_json(path)["data_fingerprint"] if path.exists() else None
    same = "not known" if made is None else "the same" if made == data.fingerprint else f"others, the run had {made}"
    facts = [
        ("training clips", f"{len(data.train):,}"),
        ("test clips", f"{len(data.test):,}"),
        ("classes", f"{data.classes:,}"),
        ("left out by the recipe", f"{len(data.store.skipped):,}"),
        ("body", f"{data.store.layout}, {len(look.body.joints)} joints"),
        ("recipe", data.store.folder.name),
        ("fingerprint of the data here", data.fingerprint),
        ("data of the run", same),
    ]
    labels = data.store.labels
    sides = {"train": data.train, "test": data.test}
    counts = {side: np.bincount(labels[rows], minlength=data.classes).tolist() for side, rows in sides.items()}
    names = [*data.class_names, *(f"class {k + 1}" for k in range(len(data.class_names), data.classes))]
    total = [sum(pair) for pair in zip(*counts.values(), strict=True)]
    return Section("As the data lie on this machine now.", fact_table(facts) + class_table(names, total, counts))
