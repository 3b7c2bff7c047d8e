"""Pre-train one encoder without labels.

  skelssl train method=pstl dataset=ntu60_xsub
  skelssl train method=mamp dataset=ntu60_xsub seed=1 'then=[linear,knn]'

The run folder is outputs/<method>/<dataset>/<run id>. The same command finds it again: it reports that a run is
finished, or resumes it. debug=smoke tries everything out in seconds; without any key a small PSTL trains on synthetic
motion.
"""

from __future__ import annotations

from omegaconf import DictConfig

from skelssl.cli.app import run_hydra


def main() -> None:
    """Run the command."""
    run_hydra("train", _job)


def _job(config: DictConfig) -> None:
    from skelssl.training.afterwards import train_and_evaluate  # not before a help text or a typo has been answered

    train_and_evaluate(config)


if __name__ == "__main__":
    main()
