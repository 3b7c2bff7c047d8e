"""Prepare a dataset: read raw recordings once, into the store that training reads.

  skelssl prepare dataset=ntu60 raw=nturgbd_skeletons_s001_to_s017.zip workers=8
  skelssl prepare dataset=custom dataset.name=mine raw=MY_CLIPS

Folders and zips are read as they are. <data_root>/<dataset>/v1/report.json lists what is left out, and why.
import=PATH takes files that other code has preprocessed, verify=true checks what is prepared.
"""

from __future__ import annotations

from omegaconf import DictConfig

from skelssl.cli.app import run_hydra


def main() -> None:
    """Run the command."""
    run_hydra("prepare", _job)


def _job(config: DictConfig) -> None:
    from skelssl.cli.prepare import prepare_command  # not before a help text or a typo has been answered

    prepare_command(config)


if __name__ == "__main__":
    main()
