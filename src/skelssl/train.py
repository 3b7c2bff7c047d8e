"""Pre-trains one encoder without labels, into a run folder of its own.

  skelssl train method=pstl dataset=ntu60_xsub
  skelssl train method=mamp dataset=ntu60_xsub seed=1 'then=[linear,knn]'

The folder is outputs/<method>/<dataset>/<run id>. The same command finds it again: a finished run says so, an
unfinished one goes on. debug=smoke tries everything out in seconds; without any key a small PSTL trains on synthetic
motion.
"""

from __future__ import annotations

import contextlib
import io
import logging
import resource
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import DoublePrecision
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from skelssl.callbacks.checkpoint import LAST
from skelssl.callbacks.loggers import build_loggers, end_loggers, grouped
from skelssl.callbacks.metrics import MetricsCSV
from skelssl.cli.app import run_hydra
from skelssl.core.compose import resolved
from skelssl.core.errors import Stopped, UserError, check_flag
from skelssl.core.files import locked, write_json
from skelssl.core.runs import claim, clear, finished, git_commit, run_folder, same_run, versions
from skelssl.data.batch import Batch
from skelssl.data.module import Dataset, SkeletonData
from skelssl.evaluate import evaluate_run
from skelssl.methods.base import Method
from skelssl.pretrained.files import read_state, save_encoders
from skelssl.probes import read_protocols
from skelssl.runtime.batch_norm import convert
from skelssl.runtime.collectives import on_first
from skelssl.runtime.compile import check_compiler, compile_parts
from skelssl.runtime.devices import matmul_precision
from skelssl.runtime.launch import supervise
from skelssl.runtime.memory import keep_pages
from skelssl.runtime.ranks import Place, joined, place, ranks_wanted


class Double(DoublePrecision):
    """Everything in float64, our batches too."""

    def convert_input(self, data: Batch) -> Batch:
        return replace(data, x=data.x.double())


PRECISION: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "32-true"}, "bf16": {"precision": "bf16-mixed"}, "fp64": {"plugins": [Double()]},
}  # fmt: skip
MATMUL = ("highest", "high", "medium")
SHARED_KEYS = ("name", "recipe", "loader", "monitor", "probe")  # read by others; the rest builds the method


def main() -> None:
    """Console entry."""
    run_hydra("train", train_job)


def train_job(config: DictConfig) -> None:
    """One job of the command."""
    train_and_evaluate(config)


def train_and_evaluate(config: DictConfig) -> Path:
    """One job: trains, then evaluates the protocols named by ``then``; returns the run folder.

    ``config`` is as the command line composed it; in a call of `skelssl.pretrain` it brings its ``hydra`` along.
    """
    hydra = config.hydra if "hydra" in config else HydraConfig.get()
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = grouped(resolved(own), hydra.runtime.choices.get("experiment"))
    if plain["resume"] == "auto":  # another name of the default
        plain["resume"] = True
    protocols = read_protocols(plain["then"])
    moved = [o for o in hydra.overrides.hydra if o.startswith("hydra.run.dir=")]
    folder = run_folder(plain, hydra.run.dir if moved else None)
    try:
        train(plain, folder)
        here = place()
        if protocols and not (here and here.rank):
            # Frozen features are float32 whatever an encoder was trained in.
            evaluate_run(folder, protocols, {**plain, "precision": plain["precision"].replace("fp64", "fp32")})
    finally:
        end_loggers()
    return folder


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


def check(config: Mapping[str, Any]) -> None:
    """Refuses values that no later step would name as clearly."""
    if not isinstance(config["seed"], int) or isinstance(config["seed"], bool) or config["seed"] < 0:
        raise UserError(f"seed: found {config['seed']!r}, expected a whole number of at least 0")
    if config["precision"] not in PRECISION:
        raise UserError(f"precision: found {config['precision']!r}, expected one of {', '.join(PRECISION)}")
    check_ranks(config["trainer"])
    if isinstance(config["resume"], str):
        if not Path(config["resume"]).is_file():
            raise UserError(f"resume: found no file {config['resume']}, expected a checkpoint such as RUN/{LAST}")
        read_resumable(Path(config["resume"]))
    if config["matmul_precision"] not in MATMUL:
        raise UserError(f"matmul_precision: found {config['matmul_precision']!r}, expected one of {', '.join(MATMUL)}")
    check_flag("compile", config["compile"])
    if config["compile"]:
        check_compiler()


def check_ranks(trainer: Mapping[str, Any]) -> None:
    """Refuses several processes without ``trainer=ddp``, and a strategy that is none of ours."""
    here, devices = place(), trainer["devices"]
    if trainer["strategy"] not in ("auto", "ddp"):
        raise UserError(f"trainer.strategy: found {trainer['strategy']!r}, expected auto or ddp")
    if trainer["strategy"] == "auto":
        if devices != 1:
            raise UserError(f"trainer.devices: found {devices}, expected 1; trainer=ddp takes several")
        if here and here.world > 1:
            raise UserError(f"trainer: found one process among {here.world} ranks, expected trainer=ddp")
    elif here and devices not in ("auto", here.local_world):
        raise UserError(f"trainer.devices: found {devices}, expected auto or the {here.local_world} ranks of this node")


def resume_from(config: Mapping[str, Any], folder: Path) -> Path | None:
    """The checkpoint to go on from: the run's own, else the one the user names, else none."""
    last = folder / LAST
    if config["resume"] and last.exists():
        print(f"resuming from {last}")
        return last
    if not isinstance(config["resume"], str):
        return None
    return Path(config["resume"])


def read_resumable(path: Path) -> dict[str, Any]:
    """A training checkpoint of ours; raises UserError for any other file."""
    state = read_state(path)
    if not {"global_step", "epoch", "row", "sums", "state_dict"} <= state.keys():
        raise UserError(f"{path}: found no training state, expected a checkpoint such as RUN/{LAST}")
    return state


def build_method(config: Mapping[str, Any]) -> Method:
    """The LightningModule, its weights drawn from ``seed``; the encoder draws first, so its start can be made alone."""
    torch.manual_seed(config["seed"])
    parts = {k: v for k, v in config["method"].items() if k not in SHARED_KEYS}
    method: Method = instantiate(parts, seed=config["seed"], _convert_="all")
    return method


def build_data(config: Mapping[str, Any]) -> SkeletonData:
    """The training data of a run."""
    method = config["method"]
    return SkeletonData(config["dataset"], method["recipe"], method["loader"], config["data_root"], config["seed"])


def build_trainer_options(config: Mapping[str, Any], folder: Path, here: Place | None = None) -> dict[str, Any]:
    """The ``trainer`` block; raises UserError for what this machine does not have."""
    options = dict(config["trainer"])
    if options["strategy"] == "ddp":
        options |= {"strategy": "auto", "devices": 1}
    if isinstance(profiler := options.get("profiler"), Mapping):
        options["profiler"] = instantiate(profiler, dirpath=str(folder))
    try:
        L.Trainer(**{k: v for k, v in options.items() if k != "profiler"}, logger=False, enable_checkpointing=False)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    return options | (_ddp(here) if here else {})


def _ddp(here: Place) -> dict[str, Any]:
    """Lightning's part of a rank. Buffers are alike on all ranks as it is; sending them around would cost time."""
    strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), broadcast_buffers=False)
    return {"strategy": strategy, "devices": here.local_world, "num_nodes": here.world // here.local_world}


def build_trainer(
    config: Mapping[str, Any],
    folder: Path,
    loggers: list[Logger],
    method: Method,
    options: Mapping[str, Any],
    more: Sequence[L.Callback] = (),
) -> L.Trainer:
    """Lightning's trainer; sampling and randomness are the loader's and the method's."""
    for logger in loggers:
        logger.log_hyperparams(dict(config))
    callbacks = [*(instantiate(block) for block in (config["callbacks"] or {}).values() if block), *more]
    return L.Trainer(
        **options,
        default_root_dir=folder,
        max_epochs=method.optim.last_epoch,
        **PRECISION[config["precision"]],
        logger=loggers,
        callbacks=callbacks,
        use_distributed_sampler=False,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        log_every_n_steps=50,
    )


def peak_memory_mb() -> int:
    """Largest memory of the run: the GPU's where there is one, else the process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _quiet() -> None:
    """Lightning's banners and its advice about loaders that are not torch's say nothing a user can act on."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        "does not have many workers",
        "recommended to use `self.log",
        "smaller than the logging interval",
        "LeafSpec",
        "weights_only",
        "`broadcast_buffers` is deprecated",  # its successor is unknown to older torch
        "Grad strides do not match",
        "in eval mode at the start of training",  # teachers are
    ):
        warnings.filterwarnings("ignore", f".*{text}.*")


if __name__ == "__main__":
    main()
