"""How far two ranks of four clips are from one process of eight, after three steps of ``trainer=ddp`` on gloo.

    python -m benchmarks.ddp_equality

Every method at the size of ``debug=smoke``, plain gradient descent, so that its momentum is the sum of the gradients.
Figures are |two ranks - one process| / |one process| over all weights, statistics, queues and teachers, and over all
gradients. Dropout draws its masks rank by rank, so that a method with dropout is equal in law only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

COMMON = (
    "debug=smoke", "dataset.source.classes=4", "dataset.source.subjects=4", "trainer.limit_train_batches=3",
    "method.optim.name=sgd", "method.optim.lr=1e-3", "callbacks.probe=null", "precision=fp64,fp32",
)  # fmt: skip
SWEEPS = (
    ("method=pstl", "method.encoder.dropout=0,0.5"),
    ("method=skeleton_contrast,mamp,skeleton2vec,ha_cm",),
)
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")


def main() -> None:
    """Runs everything in a temporary folder and prints one line for each run."""
    print(f"{'run':<44}{'loss':>10}{'weights and state':>20}{'gradients':>12}")
    with TemporaryDirectory() as folder:
        for ranks in ("one", "two"):
            (Path(folder) / ranks).mkdir()
            for sweep in SWEEPS:
                more = TWO if ranks == "two" else ()
                command = [
                    sys.executable,
                    "-m",
                    "skelssl.train",
                    "-m",
                    *COMMON,
                    *sweep,
                    *more,
                    "data_root=../data",
                ]
                subprocess.run(command, cwd=Path(folder) / ranks, check=True, capture_output=True)
        for run in sorted((Path(folder) / "one" / "outputs").glob("*/*/*/config.yaml")):
            one = run.parent
            print(line(one, Path(folder) / "two" / one.relative_to(Path(folder) / "one")))


def line(one: Path, two: Path) -> str:
    """One row of the table."""
    from skelssl.core.runs import load_config

    config, (a, b) = load_config(one), (checkpoint(path) for path in (one, two))
    dropout = config["method"]["encoder"].get("dropout")
    name = f"{config['method']['name']} {config['precision']}" + (f" dropout {dropout}" if dropout is not None else "")
    loss = abs(b["row"]["train/loss"] / a["row"]["train/loss"] - 1)
    return f"{name:<44}{loss:>10.1e}{apart(state(a), state(b)):>20.1e}{apart(gradients(a), gradients(b)):>12.1e}"


def checkpoint(run: Path) -> dict[str, Any]:
    """What a run would go on from."""
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return loaded


def state(checkpoint: dict[str, Any]) -> Tensor:
    """Weights, batch statistics, queues and teachers as one vector."""
    return torch.cat([value.double().flatten() for value in checkpoint["state_dict"].values()])


def gradients(checkpoint: dict[str, Any]) -> Tensor:
    """The momentum of every parameter as one vector."""
    states = checkpoint["optimizer_states"][0]["state"].values()
    return torch.cat([state["momentum_buffer"].double().flatten() for state in states])


def apart(a: Tensor, b: Tensor) -> float:
    """|a - b| / |a|."""
    return float((a - b).norm() / a.norm())


if __name__ == "__main__":
    main()
