"""Search settings with optuna: one trial is one run, judged by its online probe."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
from hydra.errors import HydraException
from hydra.utils import instantiate

from skelssl.core.compose import composed, resolved
from skelssl.core.errors import Diverged, UserError
from skelssl.core.files import write_json
from skelssl.core.identity import digest, identity
from skelssl.core.overrides import as_overrides, quote_path
from skelssl.core.runs import finished, run_folder
from skelssl.core.sentences import sentence
from skelssl.training.callbacks.loggers import end_loggers, grouped
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution


class Pruned(Exception):
    """The pruner ended a trial early; its run can still be resumed."""


@dataclass(frozen=True)
class Plan:
    """A search: the arguments of the training, and the ``tune`` block."""

    arguments: Sequence[str]
    tune: Mapping[str, Any]

    @cached_property
    def space(self) -> dict[str, BaseDistribution]:
        """Return the axes by dotted key."""
        from skelssl.training.search_space import axes

        return axes(self.tune["space"])

    def config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resolved configuration of the trial with these values."""
        return resolved(composed("train", [*map(quote_path, self.arguments), *as_overrides(values)]))

    @cached_property
    def start(self) -> dict[str, Any]:
        """Return one configuration of the space, which is checked and identifies the study."""
        return self.config({key: _first(axis) for key, axis in self.space.items()})

    @cached_property
    def id(self) -> str:
        """Return ten hex digits of what is searched and where; more trials belong to the same study."""
        same = {key: value for key, value in identity(self.start).items() if key not in self.space}
        about = {key: value for key, value in self.tune.items() if key != "trials"}
        return digest(same | {f"tune.{key}": value for key, value in about.items()})

    @property
    def folder(self) -> Path:
        """Return ``outputs/tune/<method>/<dataset>/<study id>``."""
        return Path("outputs", "tune", self.start["method"]["name"], self.start["dataset"]["name"], self.id)


def _first(axis: Any) -> Any:
    return axis.choices[0] if hasattr(axis, "choices") else axis.low


def read_plan(argv: Sequence[str]) -> Plan:
    """Read the plan of a command line; raise UserError for what a search cannot do."""
    settings = [a for a in argv if a.lstrip("+~").startswith("tune.")]
    others = [a for a in argv if a not in settings]
    for argument in others:
        if argument.startswith(("-", "hydra.", "+hydra.")):
            raise UserError(f"tune: found {argument}, expected KEY=VALUE of a training or tune.KEY=VALUE")
    try:
        plain = resolved(composed("tune", settings))
    except HydraException as error:
        raise UserError(sentence(error, "tune")) from error
    plan = Plan(others, plain["tune"])
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> None:
    """Raise UserError, before the first trial, for what no trial could do."""
    trials, objective, config = plan.tune["trials"], plan.tune["objective"], plan.start
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UserError(f"tune.trials: found {trials!r}, expected a whole number of at least 1")
    if not isinstance(seed := plan.tune["seed"], int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"tune.seed: found {seed!r}, expected a whole number of at least 0")
    if not str(objective).startswith("probe/"):
        raise UserError(f"tune.objective: found {objective!r}, expected a metric of the online probe: probe/knn/top1")
    if config["then"]:
        raise UserError(f"then: found {config['then']}, expected [] (evaluate the best run once the search is over)")
    if config["trainer"]["strategy"] != "auto":
        raise UserError("trainer: found ddp, expected the default (a trial is one process)")
    if config["rerun"]:
        raise UserError(f"rerun: found true, expected false (to search again, remove {plan.folder})")
    if not (config["callbacks"] or {}).get("probe"):
        raise UserError("callbacks.probe: found null, expected the probe, which judges the trials")


def search(plan: Plan) -> None:
    """Run trials until the study has all of them; a trial that a kill ended is resumed, and its run with it.

    The draws of a trial depend on the seed and on the trials before, so an interrupted search tries what an
    uninterrupted one would have tried.
    """
    import optuna
    from optuna.trial import TrialState

    pruner = instantiate(plan.tune["pruner"]) if plan.tune["pruner"] else optuna.pruners.NopPruner()
    study = optuna.create_study(
        study_name=plan.id, storage=f"sqlite:///{plan.folder / 'study.db'}", load_if_exists=True,
        direction="maximize", pruner=pruner,
    )  # fmt: skip
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    over = (TrialState.COMPLETE, TrialState.PRUNED)
    print(f"{plan.tune['objective']} of {plan.tune['trials']} trials -> {plan.folder}", flush=True)
    while (done := len(study.get_trials(deepcopy=False, states=over))) < plan.tune["trials"]:
        draws = int(np.random.SeedSequence([plan.tune["seed"], done]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=draws)
        run_trial(study, study.ask(plan.space), plan)
        write_json(plan.folder / "summary.json", summary(study, plan))
    conclude(study, plan)


def run_trial(study: Study, trial: Trial, plan: Plan) -> None:
    """Run one trial; unless the pruner or a diverging loss ends it, an interrupted trial can be resumed."""
    from optuna.trial import TrialState

    config = grouped(plan.config(trial.params), f"tune-{plan.id}")
    folder = run_folder(config)
    trial.set_user_attr("folder", str(folder))
    judge = Judge(trial, folder, plan.tune["objective"])
    try:
        train(config, folder, [judge])
        value = judge.last()
    except (Pruned, Diverged) as end:
        study.tell(trial, state=TrialState.PRUNED)
        print(f"trial {trial.number}: {end}", flush=True)
    else:
        study.tell(trial, value)
        print(f"trial {trial.number}: {plan.tune['objective']} {value:.4f}  {format_values(trial.params)}", flush=True)
    finally:
        end_loggers()


class Judge(L.Callback):
    """Report each objective in ``metrics.csv`` to the study, those before a resume too, and end a pruned trial.

    It asks the pruner when an epoch begins: then the previous epoch is in the table and in the checkpoint.
    """

    def __init__(self, trial: Trial, folder: Path, objective: str) -> None:
        self.trial, self.folder, self.objective = trial, folder, objective
        self.reported: set[int] = set()

    def objectives(self) -> Iterator[tuple[int, float]]:
        """Yield the number of finished epochs and the objective after them."""
        for row in read_rows(self.folder / "metrics.csv"):
            if row.get(self.objective):
                yield int(row["epoch"]) + 1, float(row[self.objective])

    def report(self) -> None:
        """Report the objectives that the study does not have yet."""
        for epochs, value in self.objectives():
            if epochs not in self.reported:
                self.trial.report(value, epochs)
                self.reported.add(epochs)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        before = len(self.reported)
        self.report()
        if len(self.reported) > before and self.trial.should_prune():
            raise Pruned(f"pruned after {trainer.current_epoch} epochs  {format_values(self.trial.params)}")

    def last(self) -> float:
        """Return the objective of a finished run; raise UserError where it has none."""
        assert finished(self.folder)
        self.report()
        values = [value for _, value in self.objectives()]
        if not values:
            raise UserError(
                f"tune.objective: found no {self.objective} in {self.folder / 'metrics.csv'}, expected probe/knn/top1"
            )
        return values[-1]


def format_values(values: Mapping[str, Any]) -> str:
    """Format drawn values, short enough for a line."""
    return "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())


def summary(study: Study, plan: Plan) -> dict[str, Any]:
    """Return every finished trial, the best one, and the command of its run."""
    trials: list[dict[str, Any]] = [
        {"number": t.number, "state": t.state.name.lower(), "value": t.value if t.state.name == "COMPLETE" else None,
         "values": t.params, "folder": t.user_attrs.get("folder")}
        for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")
    ]  # fmt: skip
    complete = [t for t in trials if t["value"] is not None]
    best = max(complete, key=lambda t: t["value"], default=None)
    return {"objective": plan.tune["objective"], "trials": trials, "best": best,
            "command": command(plan, best["values"]) if best else None}  # fmt: skip


def command(plan: Plan, values: Mapping[str, Any]) -> str:
    """Return the training command of a trial."""
    return shlex.join(["python", "-m", "skelssl.train", *plan.arguments, *as_overrides(values)])


def conclude(study: Study, plan: Plan) -> None:
    """Write ``summary.json`` and print the best trial; raise UserError where no trial was completed."""
    found = summary(study, plan)
    write_json(plan.folder / "summary.json", found)
    if (best := found["best"]) is None:
        raise UserError(f"{plan.folder}: found no completed trial, expected one; narrow tune.space")
    print(f"best: trial {best['number']}, {found['objective']} {best['value']:.4f}  {format_values(best['values'])}")
    print(f"  {best['folder']}\n  {found['command']}")
