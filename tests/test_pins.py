"""What must not change when the code moves: run ids, the weights of a smoke run, and run folders of earlier versions.

Here every method meets every dataset and every study is unfolded, so what these configurations must be else is asserted
here too, and each is composed once.

``python -m tests.test_pins`` prints the table anew. A changed row is a changed experiment: results of before can no
longer be found, so it needs a reason that a user would accept.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from skelssl.api import run_protocol
from skelssl.core.compose import config_dir
from skelssl.core.identity import run_id
from skelssl.methods.build import build_method
from skelssl.pretrained.export import export_encoder
from skelssl.pretrained.load import load_encoder
from skelssl.results.study import study_cells
from skelssl.training.loop import train
from tests.helpers.config import compose, train_config

PINS = Path(__file__).with_suffix(".json")
RUNS = Path(__file__).with_name("data_runs")
METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm")


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def on_datasets(method: str) -> dict[str, dict[str, Any]]:
    """The configuration of a method on each dataset, on the default one first."""
    names = sorted(choices("dataset"), key=lambda name: name != "synthetic")
    return {name: compose("train", f"method={method}", f"dataset={name}") for name in names}


def ids_of_method(method: str, published: dict[str, dict[str, Any]], smoke: dict[str, Any]) -> dict[str, str]:
    """Run ids of a method on each dataset at its published setting, and of its smoke test."""
    ids = {f"{method} {dataset}": run_id(config) for dataset, config in published.items()}
    return ids | {f"{method} smoke": run_id(smoke)}


def digest_of(ids: Iterable[str]) -> str:
    """One digest over the run ids of all cells of a study."""
    return hashlib.sha256(" ".join(sorted(ids)).encode()).hexdigest()[:16]


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


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_dataset_is_the_run_that_it_was_and_is_built(method):
    published, blocks = on_datasets(method), dict[str, str]()
    for dataset, config in published.items():
        assert (config["method"]["name"], config["dataset"]["name"]) == (method, dataset)
        blocks.setdefault(json.dumps(config["method"]), dataset)
    # Datasets of one block build one method: the first of them stands for all.
    smoke = {d: compose("train", f"method={method}", f"dataset={d}", "debug=smoke") for d in blocks.values()}
    for config in smoke.values():
        assert build_method(config).optim.epochs == 1
    found = ids_of_method(method, published, smoke["synthetic"])
    assert found == {name: pinned for name, pinned in PINNED["methods"].items() if name.split()[0] == method}


SWEEPS = {"benchmark": 30, "mask_ratio_demo": 3, "mask_ratio": 15, "ablation_pstl_spatial": 4,
          "ablation_pstl_temporal": 9, "ablation_pstl_loss": 9, "ablation_skeleton2vec_tube": 7,
          "ablation_skeleton2vec_teacher": 4, "ablation_skeleton2vec_motion": 5, "ablation_skeleton2vec_targets": 6,
          "ablation_ha_cm_parts": 4, "skeleton_contrast_augmentation": 8, "skeleton_contrast_intra": 3,
          "skeleton_contrast_pairs": 3, "skeleton_contrast_published": 6}  # fmt: skip


@pytest.mark.parametrize("name", PINNED["experiments"])
def test_the_cells_of_every_study_are_the_runs_that_they_were(name):
    found = study_cells([*PINNED["experiments"][name]["overrides"], "seed=0"])
    assert len(found) == SWEEPS.get(name, 1)  # each another run
    assert digest_of(found) == PINNED["experiments"][name]["ids"]


def test_every_method_and_study_is_pinned():
    pinned = [set(row["overrides"]) for row in PINNED["experiments"].values()]
    assert set(METHODS) == set(choices("method"))
    for name in choices("experiment"):
        assert {f"experiment={name}"} in pinned
    for method in METHODS:
        assert {f"method={method}", "scale=short"} in pinned


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
    ids = {name: digest_of(study_cells([*row["overrides"], "seed=0"])) for name, row in experiments.items()}
    methods = dict[str, str]()
    for method in METHODS:
        smoke = compose("train", f"method={method}", "debug=smoke")
        methods |= ids_of_method(method, on_datasets(method), smoke)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        encoders = {method: smoke_encoder(method, root / "data", root / method) for method in METHODS}
    return {
        "machine": machine(), "methods": methods,
        "experiments": {name: {**row, "ids": ids[name]} for name, row in experiments.items()},
        "encoders": encoders, "runs": PINNED.get("runs", {}),
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(record(), sys.stdout, indent=1)
