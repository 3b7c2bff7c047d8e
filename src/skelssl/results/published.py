"""Read published accuracies from ``results/published.yaml``, each with its source and whether it was confirmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, get_args

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from skelssl.core.compose import composed, resolved
from skelssl.core.identity import identity

# Keys in which a run may differ and still be the published one: seed, precision, compilation and monitoring.
NEUTRAL_KEYS = ("seed", "precision", "matmul_precision", "compile", "method.monitor")
TOLERANCE = 0.01  # fraction of a split's clips: papers differ by less, since some recordings cannot be used

Status = Literal["confirmed", "second_hand", "unverified"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Published:
    """One published accuracy; it is comparable only with results of the same cell."""

    method: str
    dataset: str
    protocol: str
    stream: str
    value: float  # top-1 in per cent, as printed
    status: Status
    source: str  # where the number was read, as a phrase
    setting: str | None = None
    overrides: tuple[str, ...] = ()  # of a variant: overrides that train it, besides method=M dataset=D

    @property
    def tag(self) -> str:
        """Return the text of a table cell: ``77.3 (second hand)``."""
        return f"{self.value:.1f}" + (" (second hand)" if self.status == "second_hand" else "")


@lru_cache
def _facts() -> dict[str, Any]:
    return dict(yaml.safe_load((files("skelssl.results") / "published.yaml").read_text("utf-8")))


@lru_cache
def published_cells() -> tuple[Published, ...]:
    """Return all cells of the file, unverified ones included."""
    facts = _facts()
    return tuple(
        Published(**cell | {"source": facts["sources"][cell["source"]], "overrides": tuple(cell.get("overrides", ()))})
        for cell in facts["cells"]
    )


def targets(method: str, dataset: str, protocol: str, stream: str, setting: str | None = None) -> list[Published]:
    """Return the published accuracies to compare with a result of this cell, confirmed ones first, none unverified."""
    cell = (method, dataset, protocol, stream, setting)
    found = [p for p in published_cells() if (p.method, p.dataset, p.protocol, p.stream, p.setting) == cell]
    return sorted((p for p in found if p.status != "unverified"), key=lambda p: STATUSES.index(p.status))


@lru_cache
def _plain(*overrides: str) -> dict[str, Any]:
    """Return the identity of the run that ``overrides`` train; empty for names that are not in the package."""
    try:
        return identity(resolved(composed("train", overrides)))
    except (HydraException, OmegaConfBaseException):
        return {}


def departures(config: Mapping[str, Any], overrides: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the keys in which a run departs from what ``method=M dataset=D`` trains.

    ``NEUTRAL_KEYS`` and keys of the machine do not count. A dataset that is not in the package counts as a departure.

    Args:
        config: The run's ``config.yaml``.
        overrides: Further overrides of a published variant.

    Returns:
        Dotted keys in alphabetical order; empty where the run is the published one.
    """
    own = identity(config)
    method, dataset = ((config.get(key) or {}).get("name") for key in ("method", "dataset"))
    usual = _plain(f"method={method}", f"dataset={dataset}", f"stream={config.get('stream', 'joint')}", *overrides)
    if not usual:
        return ("dataset",)
    odd = (key for key in sorted(own.keys() | usual.keys()) if own.get(key) != usual.get(key))
    return tuple(key for key in odd if not any(key == free or key.startswith(free + ".") for free in NEUTRAL_KEYS))


def split_clips(dataset: str) -> tuple[int, ...]:
    """Return the numbers of training and test clips of a published split; empty where they are not known."""
    return tuple(_facts()["clips"].get(dataset, ()))


def is_full_split(dataset: str, n_train: int | None, n_test: int | None) -> bool:
    """Return whether clips are as many as in the published split, up to ``TOLERANCE``; False where it is not known."""
    sides = zip((n_train, n_test), split_clips(dataset), strict=False)
    close = [found is not None and abs(found - full) <= TOLERANCE * full for found, full in sides]
    return bool(close) and all(close)
