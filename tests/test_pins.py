"""What must not change when the code moves: run ids, the weights of a smoke run, and run folders of earlier versions.

``python -m tests.test_pins`` prints the table anew. A changed row is a changed experiment: results of before can no
longer be found, so it needs a reason that a user would accept.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from skelssl.api import run_protocol
from skelssl.core.compose import config_dir
from skelssl.core.identity import run_id
from skelssl.pretrained.export import export_encoder
from skelssl.pretrained.load import load_encoder
from skelssl.results.study import cells
from skelssl.training.loop import train
from tests.helpers.config import compose, train_config

PINS = Path(__file__).with_suffix(".json")
RUNS = Path(__file__).with_name("data_runs")
METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm")


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def ids_of_methods() -> dict[str, str]:
    """Run id of every method x dataset, at its published setting and as a smoke test."""
    pairs = list(product(METHODS, choices("dataset")))
    plain = {f"{m} {d}": run_id(compose("train", f"method={m}", f"dataset={d}")) for m, d in pairs}
    smoke = {f"{m} smoke": run_id(compose("train", f"method={m}", "debug=smoke")) for m in METHODS}
    return plain | smoke


def ids_of_experiments(names: dict[str, list[str]]) -> dict[str, str]:
    """One digest over the run ids of all cells of each study, which its overrides name."""
    digests = {}
    for name, overrides in names.items():
        ids = sorted(cells([*overrides, "seed=0"]))
        digests[name] = hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]
    return digests


def machine() -> dict[str, str]:
    """Where bits can be asked to agree: another processor or another torch adds in another order."""
    return {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability(), "machine": platform.machine()}


def smoke_encoder(method: str, data_root: Path, folder: Path) -> dict[str, Any]:
    """Digest and norms of the encoders that two steps on one thread give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        overrides = [f"method={method}", "trainer.accelerator=cpu", "callbacks.probe=null"]
        train(train_config(data_root, *overrides), folder)
    finally:
        torch.set_num_threads(threads)
    files = sorted((folder / "encoder").rglob("*.safetensors"))
    tensors = [load_file(file) for file in files]
    whole = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return {"sha256": whole, "norms": [sum(t.double().norm().item() for t in part.values()) for part in tensors]}


PINNED: dict[str, Any] = json.loads(PINS.read_text()) if PINS.exists() else {}


def test_run_ids_of_methods_on_datasets():
    assert ids_of_methods() == PINNED["methods"]


def test_run_ids_of_experiments():
    names = {name: row["overrides"] for name, row in PINNED["experiments"].items()}
    assert ids_of_experiments(names) == {name: row["ids"] for name, row in PINNED["experiments"].items()}


def test_every_experiment_is_pinned():
    pinned = {word for row in PINNED["experiments"].values() for word in row["overrides"]}
    assert {f"experiment={name}" for name in choices("experiment")} <= pinned


@pytest.mark.parametrize("method", METHODS)
def test_weights_of_a_smoke_run(method, data_root, tmp_path):
    found, pinned = smoke_encoder(method, data_root, tmp_path), PINNED["encoders"][method]
    assert found["norms"] == pytest.approx(pinned["norms"], rel=1e-5)
    if machine() == PINNED["machine"]:
        assert found["sha256"] == pinned["sha256"]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_an_earlier_version_is_loaded_evaluated_and_exported(method, data_root, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for file in (RUNS / method).rglob("*"):  # a copy: what is evaluated is written beside it
        if file.is_file():
            copy = run / file.relative_to(RUNS / method)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    encoder = load_encoder(run)
    assert encoder.layout.name == "ntu25"
    result = run_protocol("knn", run, data_root=str(data_root), **{"trainer.accelerator": "cpu"})
    pinned = PINNED["runs"][method]
    assert result["checkpoint_sha256"] == pinned["checkpoint_sha256"]
    assert result["data_fingerprint"] == pinned["data_fingerprint"]
    assert result["top1"] == pytest.approx(pinned["top1"], abs=1 / result["n_test"] + 1e-9)
    folder = tmp_path / "export"
    export_encoder(run, folder, formats=["safetensors", "torch"])
    assert (folder / "MODEL_CARD.md").exists()
    x = torch.zeros(1, *PINNED["runs"][method]["shape"])
    assert torch.equal(load_encoder(folder)(x), encoder(x))


def record() -> dict[str, Any]:
    """The table as it is today."""
    import tempfile

    experiments = PINNED.get("experiments") or {n: {"overrides": [f"experiment={n}"]} for n in choices("experiment")}
    ids = ids_of_experiments({name: row["overrides"] for name, row in experiments.items()})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        encoders = {method: smoke_encoder(method, root / "data", root / method) for method in METHODS}
    return {
        "machine": machine(), "methods": ids_of_methods(),
        "experiments": {name: {**row, "ids": ids[name]} for name, row in experiments.items()},
        "encoders": encoders, "runs": PINNED.get("runs", {}),
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(record(), sys.stdout, indent=1)
