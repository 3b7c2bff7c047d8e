"""Train a resolved configuration in its run folder, as one process or as one rank of several."""

from __future__ import annotations

import contextlib
import io
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from skelssl.core.errors import Stopped, UserError
from skelssl.core.files import locked, write_json
from skelssl.core.runs import claim, clear, finished, git_commit, same_run, versions
from skelssl.data.module import Dataset, SkeletonData
from skelssl.methods.base import Method
from skelssl.methods.build import build_method
from skelssl.pretrained.files import save_encoders
from skelssl.runtime.batch_norm import convert
from skelssl.runtime.collectives import on_first
from skelssl.runtime.compile import compile_parts
from skelssl.runtime.devices import matmul_precision
from skelssl.runtime.launch import supervise
from skelssl.runtime.memory import keep_pages
from skelssl.runtime.ranks import Place, joined, place, ranks_wanted
from skelssl.training.callbacks.loggers import build_loggers
from skelssl.training.callbacks.metrics import MetricsCSV
from skelssl.training.checks import check
from skelssl.training.resume import read_resumable, resume_from
from skelssl.training.trainer import _quiet, build_data, build_trainer, build_trainer_options


def train(config: Mapping[str, Any], folder: Path, callbacks: Sequence[L.Callback] = ()) -> None:
    """Trains ``config`` (resolved) in ``folder``, goes on with it, or says that it is finished.

    ``callbacks`` join those of the configuration where this process is the only one.
    """
    config = {**config, "data_root": str(Path(config["data_root"]).absolute())}
    check(config)
    same_run(folder, config)
    if finished(folder) and not config["rerun"]:
        print(f"{folder} is finished; rerun=true starts it anew")
        return
    _quiet()
    here, ddp = place(), config["trainer"]["strategy"] == "ddp"
    with joined(here if ddp else None, config["trainer"]):
        # Whatever is wrong with the configuration or the data shows before the folder is touched.
        build_method(config)
        ranks = here.world if here else ranks_wanted(config["trainer"]) if ddp else 1
        build_data(config).part(0, ranks)
        build_trainer_options(config, folder, here)
        with opened(folder, config):
            if ddp and here is None:
                supervise(folder, ranks)
            else:
                run(config, folder, here, callbacks)


@contextmanager
def opened(folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Holds the folder for this run, on the first rank alone; the others wait until it is ready for them."""

    def take() -> None:
        held.enter_context(locked(folder / ".lock", wait=False))
        if config["rerun"]:
            clear(folder)
        claim(folder, config)

    with contextlib.ExitStack() as held:
        on_first(take)
        yield


def run(
    config: Mapping[str, Any], folder: Path, here: Place | None = None, callbacks: Sequence[L.Callback] = ()
) -> None:
    """Trains ``config`` in its folder to the end, as one process or as rank ``here`` of several."""
    _quiet()
    keep_pages()
    method, data = build_method(config), build_data(config)
    with contextlib.redirect_stdout(io.StringIO()):  # what it has to say was said when the data was checked
        dataset = data.dataset
    if here:
        convert(method)
    if config["compile"]:
        compile_parts(method.compiled())
    state = resume_from(config, folder)
    metrics = MetricsCSV(folder / "metrics.csv", echo=not sys.stdout.isatty())
    seen: dict[str, Any] = read_resumable(state) if state else {"global_step": 0, "epoch": -1, "row": {}}
    on_first(lambda: metrics.resume(seen["global_step"]))
    loggers = [metrics, *build_loggers(config, folder, seen["global_step"])]
    if seen["row"] and not metrics.holds(seen["global_step"] - 1):  # a kill came before the last epoch's row
        for logger in loggers:
            logger.log_metrics({**seen["row"], "epoch": seen["epoch"]}, seen["global_step"] - 1)
    trainer = build_trainer(config, folder, loggers, method, build_trainer_options(config, folder, here), callbacks)
    ranks = f", {here.world} ranks" if here else ""
    name = f"{config['method']['name']} on {config['dataset']['name']}"
    print(f"{name}: {len(dataset.train)} clips{ranks} -> {folder}", flush=True)
    with matmul_precision(config["matmul_precision"]):
        fit(trainer, method, data, state)
    on_first(lambda: finish(trainer, method, dataset, config, folder))


def finish(trainer: L.Trainer, method: Method, dataset: Dataset, config: Mapping[str, Any], folder: Path) -> None:
    """Writes the encoders, then ``run.json``, whose presence says that the run is whole."""
    save_encoders(method.encoders(), folder / "encoder", config, dataset.fingerprint)
    write_json(folder / "run.json", {
        "finished": True, "method": config["method"]["name"], "dataset": config["dataset"]["name"],
        "seed": config["seed"], "epochs": trainer.current_epoch, "steps": trainer.global_step,
        "ranks": trainer.world_size, "seconds": round(method.elapsed, 1), "peak_memory_mb": peak_memory_mb(),
        "data_fingerprint": dataset.fingerprint, "clips_left_out": len(dataset.store.skipped),
        "git_commit": git_commit(), "versions": versions(),
    })  # fmt: skip


def fit(trainer: L.Trainer, method: Method, data: SkeletonData, state: Path | None) -> None:
    """Lightning's fit; weights of another shape are the user's mistake, Ctrl-C ends the command."""
    try:
        trainer.fit(method, data, ckpt_path=state, weights_only=True if state else None)
    except SIGTERMException as error:  # Lightning's own handler, which stands until the first step begins
        raise Stopped(f"stopped by SIGTERM: nothing was trained in {trainer.default_root_dir} in this call") from error
    except RuntimeError as error:
        if state and "Error(s) in loading state_dict" in str(error):
            raise UserError(
                f"{state}: found weights of another shape or method, expected those of this config"
            ) from error
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def peak_memory_mb() -> int:
    """Largest memory of the run: the GPU's where there is one, else the process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
