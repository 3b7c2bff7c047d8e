"""Create a workspace in Weights & Biases that shows our runs.

  skelssl dashboard ENTITY
  skelssl dashboard ENTITY --json workspace.json

It has a section for each question that the logs answer. ``--json FILE`` writes its definition and needs no network.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from skelssl.cli.app import run_plain
from skelssl.cli.arguments import CommandParser
from skelssl.core.errors import UserError
from skelssl.core.files import write_json

STEP = "trainer/global_step"
# Section -> chart -> the metrics in it; a name with a star matches several.
CHARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "Training": {
        "loss": ("train/loss",),
        "parts of the loss": ("train/*",),
        "learning rate": ("optim/lr",),
        "gradient norm": ("optim/grad_norm",),
        "clips a second": ("speed/clips_per_second",),
    },
    "Online probe, on held-out training subjects": {
        "nearest neighbour": ("probe/knn/top1",),
    },
    "Signs of collapse": {
        "standard deviation of unit features": ("features/std",),
        "effective rank": ("features/effective_rank",),
    },
    "Masks": {
        "mask ratio": ("mask/*/share",),
        "motion of masked joints over that of all": ("mask/*/motion",),
    },
    "Evaluation": {
        "top-1": ("eval/*/top1",),
    },
}
PICTURES = {"Masks": "pictures/masks", "Online probe, on held-out training subjects": "pictures/embedding"}


def workspace(entity: str, project: str) -> Any:
    """Build a `wandb_workspaces` workspace, the runs grouped by study, without network access.

    Raises UserError where the package is not installed.
    """
    try:
        panels: Any = import_module("wandb_workspaces.reports.v2")
        ws: Any = import_module("wandb_workspaces.workspaces")
    except ImportError as error:
        raise UserError("dashboard: found no wandb-workspaces, expected pip install 'skelssl[dashboards]'") from error

    def chart(title: str, metrics: tuple[str, ...]) -> Any:
        if "*" in metrics[0]:
            return panels.LinePlot(title=title, x=STEP, metric_regex=star_pattern(metrics[0]))
        return panels.LinePlot(title=title, x=STEP, y=list(metrics))

    sections = []
    for name, charts in CHARTS.items():
        content = [chart(title, metrics) for title, metrics in charts.items()]
        if key := PICTURES.get(name):
            content.append(panels.MediaBrowser(title=key.split("/")[1], media_keys=[key]))
        sections.append(ws.Section(name=name, panels=content, is_open=True))
    sections.append(ws.Section(name="Settings", panels=[panels.RunComparer(diff_only="split")]))
    grouped = ws.RunsetSettings(groupby=[ws.Metric("Group")])
    return ws.Workspace(entity=entity, project=project, name="skelssl", sections=sections, runset_settings=grouped)


def star_pattern(metric: str) -> str:
    """Return the regular expression of a name with stars.

    >>> star_pattern("mask/*/share")
    '^mask/.*/share$'
    """
    return f"^{metric.replace('*', '.*')}$"


def dashboard_command(argv: list[str]) -> None:
    """Create the workspace in Weights & Biases, or write its definition to a file."""
    parser = CommandParser("dashboard", __doc__ or "", "ENTITY")
    parser.add_argument("entity", metavar="ENTITY", help="user or team that the project belongs to")
    parser.add_argument("--project", default="skelssl", help="as logger.wandb.project; default: skelssl")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the definition there and create nothing")
    args = parser.parse_args(argv)
    made = workspace(args.entity, args.project)
    if args.json:
        write_json(args.json, made._to_model().model_dump(mode="json", by_alias=True, exclude_none=True))
        print(f"-> {args.json}")
        return
    _save(made)
    print(made.url)


def _save(made: Any) -> None:
    """Send it; raise UserError where W&B cannot be reached, or has no such user and project."""
    import wandb

    try:
        made.save()
    except (wandb.errors.Error, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"dashboard: W&B did not take it for {made.entity}/{made.project} ({reason}), expected its network, "
            "a key (wandb login) and a project of that name with a run in it"
        ) from error


def main() -> None:
    """Run the command."""
    run_plain(dashboard_command)


if __name__ == "__main__":
    main()
