"""Write a page that shows one clip, or a whole dataset, in a browser.

  skelssl explore dataset=ntu60
  skelssl explore dataset=ntu60 name=S001C001P001R001A001 checkpoint=RUN

A clip is shown as it was recorded, under each recipe, and with the views and masks that a method draws.
"""

from __future__ import annotations

from omegaconf import DictConfig

from skelssl.cli.app import run_hydra


def main() -> None:
    """Run the command."""
    run_hydra("explore", _job)


def _job(config: DictConfig) -> None:
    from skelssl.pages.explore import write_explore_page  # not before a help text or a typo has been answered

    write_explore_page(config)


if __name__ == "__main__":
    main()
