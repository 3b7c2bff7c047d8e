"""Train a resolved configuration in its run folder, as one process or as one rank of several."""

from __future__ import annotations

import contextlib
import io
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from skelssl.core.errors import Stopped, UserError
from skelssl.core.files import locked, write_json
from skelssl.core.runs import check_same_run, finished, git_commit, load_config, remove_run, versions, write_config
from skelssl.data.module import SkeletonData
from skelssl.methods.base import Method
from skelssl.methods.build import build_method
from skelssl.pretrained.files import save_encoders
from skelssl.runtime.batch_norm import sync_batch_norms
from skelssl.runtime.collectives import on_first
from skelssl.runtime.compile import compile_parts
from skelssl.runtime.devices import matmul_precision
from skelssl.runtime.launch import supervise
from skelssl.runtime.memory import keep_pages
from skelssl.runtime.ranks import Rank, launched_rank, process_group, ranks_wanted
from skelssl.training.callbacks.loggers import build_loggers
from skelssl.training.callbacks.metrics import MetricsCSV
from skelssl.training.checks import check_training
from skelssl.training.resume import read_resumable, resume_from
from skelssl.training.trainer import build_data, build_trainer, quiet_lightning


@dataclass(frozen=True)
class Training:
    """A run that is built and checked but not yet started; ``me`` is this process's rank among several."""

    config: Mapping[str, Any]
    folder: Path
    method: Method
    data: SkeletonData
    trainer: L.Trainer
    me: Rank | None


def train(config: Mapping[str, Any], folder: Path, callbacks: Sequence[L.Callback] = ()) -> None:
    """Train ``config`` in ``folder``, resume an unfinished run there, or report that it is finished.

    Everything that can be wrong with the configuration or the data shows before the folder is touched.

    Args:
        config: a resolved ``train.yaml``.
        folder: the run folder.
        callbacks: join those of the configuration where this process is the only one.

    Raises:
        UserError: for a mistake in the configuration, the data or the folder.
        RankError: where one of several ranks was killed or failed.
        Stopped: after a signal, once the run has saved itself.
    """
    config = {**config, "data_root": str(Path(config["data_root"]).absolute())}
    check_training(config)
    check_same_run(folder, config)
    if finished(folder) and not config["rerun"]:
        print(f"{folder} is finished; rerun=true trains it again")
        return
    ddp = config["trainer"]["strategy"] == "ddp"
    me = launched_rank() if ddp else None
    ranks = me.world if me else ranks_wanted(config["trainer"]) if ddp else 1
    with process_group(me, config["trainer"]):
        training = build_training(config, folder, me, ranks, callbacks)
        with claimed(folder, config):
            if ddp and me is None:
                supervise(folder, ranks)
            else:
                run_training(training)


def train_rank(folder: Path, me: Rank) -> None:
    """Train the run in ``folder`` as rank ``me``; the parent process has checked, claimed and announced it."""
    config = load_config(folder)
    with process_group(me, config["trainer"]):
        with contextlib.redirect_stdout(io.StringIO()):  # the parent printed what the data has to report
            training = build_training(config, folder, me, me.world)
        run_training(training)


def build_training(
    config: Mapping[str, Any], folder: Path, me: Rank | None, ranks: int, callbacks: Sequence[L.Callback] = ()
) -> Training:
    """Build the method, the data and the trainer of a run on ``ranks`` ranks; nothing is written to ``folder``."""
    quiet_lightning()
    keep_pages()
    method, data = build_method(config), build_data(config)
    data.part(0, ranks)  # raises where the ranks cannot share a batch
    trainer = build_trainer(config, folder, me, method.optim.last_epoch, callbacks)
    return Training(config, folder, method, data, trainer, me)


@contextmanager
def claimed(folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Hold the run folder on the first rank alone; the other ranks wait until it is ready for them."""

    def claim_folder() -> None:
        held.enter_context(locked(folder / ".lock", wait=False))
        if config["rerun"]:
            remove_run(folder)
        write_config(folder, config)

    with contextlib.ExitStack() as held:
        on_first(claim_folder)
        yield


def run_training(run: Training) -> None:
    """Train to the end, from the checkpoint where there is one, and write the encoders and ``run.json``."""
    if run.me:
        sync_batch_norms(run.method)
    if run.config["compile"]:
        compile_parts(run.method.compiled())
    checkpoint = resume_from(run.config, run.folder)
    run.trainer.loggers = open_loggers(run.config, run.folder, checkpoint)
    name = f"{run.config['method']['name']} on {run.config['dataset']['name']}"
    ranks = f", {run.me.world} ranks" if run.me else ""
    print(f"{name}: {len(run.data.dataset.train)} clips{ranks} -> {run.folder}", flush=True)
    with matmul_precision(run.config["matmul_precision"]):
        _fit(run, checkpoint)
    on_first(lambda: write_outcome(run))


def open_loggers(config: Mapping[str, Any], folder: Path, checkpoint: Path | None) -> list[Logger]:
    """Open ``metrics.csv`` and the configured loggers, all taken back to the step of ``checkpoint``."""
    seen: dict[str, Any] = read_resumable(checkpoint) if checkpoint else {"global_step": 0, "epoch": -1, "row": {}}
    steps = seen["global_step"]
    metrics = MetricsCSV(folder / "metrics.csv", echo=not sys.stdout.isatty())
    on_first(lambda: metrics.resume(steps))
    loggers = [metrics, *build_loggers(config, folder, steps)]
    lost = seen["row"] and not metrics.holds(steps - 1)  # a kill came between the checkpoint and its epoch's row
    for logger in loggers:
        if lost:
            logger.log_metrics({**seen["row"], "epoch": seen["epoch"]}, steps - 1)
        logger.log_hyperparams(dict(config))
    return loggers


def _fit(run: Training, checkpoint: Path | None) -> None:
    """Call Lightning's fit; weights of another shape are the user's mistake, Ctrl-C ends the command."""
    try:
        run.trainer.fit(run.method, run.data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    except SIGTERMException as error:  # Lightning's own handler, which is in place until the first step begins
        raise Stopped(f"stopped by SIGTERM: nothing was trained in {run.folder} in this call") from error
    except RuntimeError as error:
        if checkpoint and "Error(s) in loading state_dict" in str(error):
            raise UserError(
                f"{checkpoint}: found weights of another shape or method, expected those of this config"
            ) from error
        raise
    if run.trainer.interrupted:
        raise KeyboardInterrupt


def write_outcome(run: Training) -> None:
    """Write the encoders, then ``run.json``, whose presence says that the run is complete."""
    config, dataset, trainer = run.config, run.data.dataset, run.trainer
    save_encoders(run.method.encoders(), run.folder / "encoder", config, dataset.fingerprint)
    write_json(run.folder / "run.json", {
        "finished": True, "method": config["method"]["name"], "dataset": config["dataset"]["name"],
        "seed": config["seed"], "epochs": trainer.current_epoch, "steps": trainer.global_step,
        "ranks": trainer.world_size, "seconds": round(run.method.elapsed, 1), "peak_memory_mb": peak_memory_mb(),
        "data_fingerprint": dataset.fingerprint, "clips_left_out": len(dataset.store.skipped),
        "git_commit": git_commit(), "versions": versions(),
    })  # fmt: skip


def peak_memory_mb() -> int:
    """Return the largest memory of the run in MB: the GPU's where there is one, else the process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
