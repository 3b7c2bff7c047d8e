"""Write ``metrics.csv``: one appended row per logging event; a resumed run drops the rows past its checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from skelssl.core.files import atomic_file

FIRST = ("epoch", "step")
ECHOED = ("train/", "probe/", "eval/")  # the metrics worth a line in a log


class MetricsCSV(Logger):
    """Wide table: epoch, step, then one column per metric in the order of first appearance.

    ``echo`` also prints losses and accuracies of each row as a line, for logs that no progress bar can live in.
    """

    def __init__(self, path: Path, *, echo: bool = False) -> None:
        super().__init__()
        self.path, self.echo = path, echo
        self.columns: list[str] = list(FIRST)
        if path.exists():
            with open(path, newline="", encoding="utf-8") as file:
                self.columns = next(csv.reader(file), self.columns)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """``config.yaml`` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        epoch = int(metrics.get("epoch", 0))
        row = {**metrics, "epoch": epoch, "step": step}
        new = [key for key in row if key not in self.columns]
        if new or not self.path.exists():
            self.columns += new
            self._rewrite(read_rows(self.path))
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)
        if self.echo:
            shown = [f"{key} {value:.4g}" for key, value in metrics.items() if key.startswith(ECHOED)]
            print(f"epoch {epoch + 1}  " + "  ".join(shown), flush=True)

    @rank_zero_only
    def resume(self, steps: int) -> None:
        """Drop the rows after a checkpoint of ``steps`` finished steps."""
        self._rewrite([row for row in read_rows(self.path) if int(row["step"]) < steps])

    def holds(self, step: int) -> bool:
        """Return whether there is a row of this step."""
        return any(int(row["step"]) == step for row in read_rows(self.path))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with atomic_file(self.path, "w") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows as text; a last line cut by a kill is left out."""
    if not path.exists():
        return []
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(whole.splitlines()) if None not in row.values()]
