"""Numbers other people printed, read from ``facts/published.yaml``: each with its source and how sure we are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal, get_args

import yaml

Status = Literal["confirmed", "second_hand", "unverified"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Published:
    """One published cell; it may stand only beside a result of the same cell."""

    method: str
    dataset: str
    protocol: str
    stream: str
    value: float  # top-1 in per cent, as printed
    status: Status
    source: str  # where it was read, as a phrase
    setting: str | None = None

    @property
    def tag(self) -> str:
        """Short form for a table cell: ``77.3 (second hand)``."""
        return f"{self.value:.1f}" + (" (second hand)" if self.status == "second_hand" else "")


@lru_cache
def published_cells() -> tuple[Published, ...]:
    """All cells of the file, unverified ones included."""
    facts = yaml.safe_load((files("skelssl") / "facts" / "published.yaml").read_text("utf-8"))
    return tuple(Published(**cell | {"source": facts["sources"][cell["source"]]}) for cell in facts["cells"])


def targets(method: str, dataset: str, protocol: str, stream: str, setting: str | None = None) -> list[Published]:
    """Cells fit to stand beside our result of exactly this cell, confirmed first; unverified ones never are."""
    cell = (method, dataset, protocol, stream, setting)
    found = [p for p in published_cells() if (p.method, p.dataset, p.protocol, p.stream, p.setting) == cell]
    return sorted((p for p in found if p.status != "unverified"), key=lambda p: STATUSES.index(p.status))
