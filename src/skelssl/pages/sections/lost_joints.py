"""Lost joints: accuracy over the number of missing joints."""

from __future__ import annotations

from skelssl.pages.figures.lost_joints import CAPTION, curves_of, lost_joints_figure
from skelssl.pages.run import OpenedRun, Section, SectionUnavailable


def lost_joints_section(run: OpenedRun) -> Section:
    """Draw the results of ``protocol=lost_joints``."""
    if not (curves := curves_of(run.results)):
        raise SectionUnavailable(
            "Accuracy with missing joints has not been evaluated for this run.", run.evaluate_command("lost_joints")
        )
    return Section(CAPTION, lost_joints_figure(curves))
