"""Data: the clips, classes and fingerprint of a run's dataset."""

from __future__ import annotations

import numpy as np

from skelssl.core.files import read_json
from skelssl.pages.figures.counts import class_table, fact_table
from skelssl.pages.run import OpenedRun, Section


def data_section(run: OpenedRun) -> Section:
    """Count training and test clips by class, and compare the data with those that the run was trained on."""
    data = run.data
    path = run.run / "run.json"
    trained_on = read_json(path)["data_fingerprint"] if path.exists() else None
    same = "unknown" if trained_on is None else "yes" if trained_on == data.fingerprint else f"no, {trained_on}"
    facts = [
        ("training clips", f"{len(data.train):,}"),
        ("test clips", f"{len(data.test):,}"),
        ("classes", f"{data.classes:,}"),
        ("skipped by the recipe", f"{len(data.store.skipped):,}"),
        ("skeleton layout", f"{data.store.layout}, {len(run.body.joints)} joints"),
        ("recipe", data.store.folder.name),
        ("data fingerprint", data.fingerprint),
        ("same data as in training", same),
    ]
    labels = data.store.labels
    sides = {"train": data.train, "test": data.test}
    counts = {side: np.bincount(labels[rows], minlength=data.classes).tolist() for side, rows in sides.items()}
    names = [*data.class_names, *(f"class {k + 1}" for k in range(len(data.class_names), data.classes))]
    total = [sum(pair) for pair in zip(*counts.values(), strict=True)]
    caption = "The dataset as it is currently stored on this machine."
    return Section(caption, fact_table(facts) + class_table(names, total, counts))
