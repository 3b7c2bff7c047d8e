"""Search hyper-parameters with optuna: one trial, one run.

  skelssl tune method=pstl dataset=ntu60_xsub tune.trials=40
  skelssl tune method=mamp debug=smoke tune.trials=3

Every argument but those under ``tune`` is one of a training. Each trial is the run that ``skelssl train`` would make of
them and of the drawn values, in its run folder. The search space is in conf/tune.yaml. The objective is the online
probe on held-out subjects of the training split: a search never evaluates on the test set.
"""

from __future__ import annotations

import inspect
import sys

from skelssl.cli.app import run_plain
from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.core.files import locked
from skelssl.training.tune import read_plan, search


def main() -> None:
    """Run the command."""
    run_plain(tune_command, "train")


def tune_command(argv: list[str]) -> None:
    """Run the missing trials and print the best one."""
    if {"-h", "--help"} & set(argv):
        print(f"{inspect.getdoc(sys.modules[__name__])}\n\n{(config_dir() / 'tune.yaml').read_text('utf-8')}")
        return
    try:
        import optuna
    except ImportError as error:
        raise UserError("tune: found no optuna, expected pip install 'skelssl[hpo]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = read_plan(argv)
    with locked(plan.folder / ".lock", wait=False):
        search(plan)


if __name__ == "__main__":
    main()
