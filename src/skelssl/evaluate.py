"""Evaluate a trained encoder and its random initialisation under one protocol.

  skelssl evaluate protocol=linear checkpoint=outputs/pstl/ntu60_xsub/RUN
  skelssl evaluate protocol=knn checkpoint=RUN 'seeds=[0,1,2]' mode=clean

The result is written to the run folder, under eval/<protocol>/, as result.json. An evaluation that is there already is
read, not run again.
"""

from __future__ import annotations

from omegaconf import DictConfig

from skelssl.cli.app import run_hydra


def main() -> None:
    """Run the command."""
    run_hydra("evaluate", _job)


def _job(config: DictConfig) -> None:
    from skelssl.protocols.bench import run_evaluation  # not before a help text or a typo has been answered

    run_evaluation(config)


if __name__ == "__main__":
    main()
