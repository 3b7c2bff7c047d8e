"""A run folder as a training leaves it, without the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.files import write_json
from skelssl.core.runs import versions, write_config
from skelssl.data.module import open_dataset
from skelssl.methods.build import build_method
from skelssl.pretrained.files import save_encoders
from tests.helpers.results import write_evaluation


def untrained_run(run: Path, config: dict[str, Any], *, evaluated: bool = True) -> Path:
    """Fresh encoders, three epochs of metrics and, if wanted, a linear evaluation of every test clip, half right."""
    method, dataset = config["method"], config["dataset"]
    data = open_dataset(dataset, method["recipe"], config["data_root"])
    names = [data.store.names[i] for i in data.test]
    if evaluated:
        right = np.arange(len(names)) % 2 == 0
        write_evaluation(run, correct=right, random=~right, names=names, method=method["name"], dataset=dataset["name"])
    write_config(run, config)
    save_encoders(build_method(config).encoders(), run / "encoder", config, data.fingerprint)
    lines = ["epoch,step,train/loss,probe/knn/top1,eval/linear/top1", "0,3,2.5,,", "1,7,1.5,0.25,", "2,11,1.25,0.5,0.5"]
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    made = {"finished": True, "seed": config["seed"], "epochs": 3, "steps": 12, "seconds": 1.0, "peak_memory_mb": 100,
            "data_fingerprint": data.fingerprint, "git_commit": None, "versions": versions()}  # fmt: skip
    write_json(run / "run.json", made)
    return run
