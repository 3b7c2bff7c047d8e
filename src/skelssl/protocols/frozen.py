"""Protocols on a frozen encoder: features once, then a classifier on vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelssl.data.loader import batches
from skelssl.data.module import Dataset
from skelssl.errors import UserError
from skelssl.protocols.features import Features, extract
from skelssl.protocols.knn import knn
from skelssl.protocols.linear import linear_probe
from skelssl.protocols.linear_recipe import LinearRecipe
from skelssl.protocols.scores import Scores
from skelssl.skeleton import layout


class Frozen:
    """One encoder on one dataset; each (part, view, draw) is kept for other protocols and seeds.

    ``limit`` keeps the first clips of each class of either part, for quick looks.
    """

    def __init__(
        self, encoder: nn.Module, data: Dataset, *, device: torch.device, precision: str, limit: int | None = None
    ) -> None:
        self.encoder, self.data, self.device, self.precision = encoder.to(device), data, device, precision
        loaded = cast(Any, encoder)  # load_encoder hangs these on the module
        self.views: Mapping[str, nn.Module] = loaded.view
        self.view_configs: Mapping[str, Any] = loaded.about["view"]
        if layout(loaded.about["layout"]) != layout(data.store.layout):
            raise UserError(
                f"dataset: found {data.name} of layout {data.store.layout}, expected {loaded.about['layout']}, the "
                "layout of the encoder"
            )
        label = data.store.labels
        self.rows = {part: first_of_class(getattr(data, part), label, limit) for part in ("train", "test")}
        self.ignore: Sequence[int] = ()  # joints that the encoder does without
        self.cache: dict[tuple[str, str, int], Features] = {}

    def features(self, part: str, view: str, draw: int = 0, *, keep: bool = True) -> Features:
        """Features of ``train`` or ``test`` under the ``probe`` or ``test`` view, on the CPU.

        ``draw`` numbers the random crops of a view that has some; ``keep`` holds the features for the next who asks.
        """
        if self.view_configs[view] == self.view_configs["test"]:
            view, draw, keep = "test", 0, True
        if (found := self.cache.get((part, view, draw))) is not None:
            return found
        clips = batches(self.data.store, self.rows[part])
        found = extract(
            self.encoder, self.views[view], clips,
            device=self.device, precision=self.precision, ignore=self.ignore, seed=draw,
        ).to("cpu")  # fmt: skip
        if keep:
            self.cache[part, view, draw] = found
        return found


def first_of_class(rows: NDArray[np.int64], labels: NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """The first ``limit`` rows of each class, all of them without a limit."""
    if limit is None:
        return rows
    return np.sort(np.concatenate([rows[labels[rows] == c][:limit] for c in np.unique(labels[rows])]))


COVERAGE = ("classes_without_training", "test_clips_without_training")


def coverage(frozen: Frozen) -> dict[str, int]:
    """Classes of the dataset that no training clip shows, and the test clips of those, which nothing can get right."""
    labels = frozen.data.store.labels
    shown = np.isin(np.arange(frozen.data.classes), labels[frozen.rows["train"]])
    hopeless = int((~shown[labels[frozen.rows["test"]]]).sum())
    return dict(zip(COVERAGE, (int((~shown).sum()), hopeless), strict=True))


def linear(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """Linear evaluation: the training view's features train one layer, the test view's are scored."""
    plan, where = LinearRecipe.read(recipe), frozen.device

    def train(epoch: int) -> Features:
        reused = plan.passes < plan.epochs  # else each pass serves one epoch, and all of them would fill the memory
        return frozen.features("train", "probe", draw=epoch % plan.passes, keep=reused).to(where)

    test = frozen.features("test", "test").to(where)
    return linear_probe(train, test, classes=frozen.data.classes, recipe=recipe, seed=seed)


def nearest(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """k nearest neighbours: training clips are the gallery, both sides under the deterministic test view."""
    train, test = frozen.features("train", "test"), frozen.features("test", "test")
    return knn(train.to(frozen.device), test.to(frozen.device), classes=frozen.data.classes, **recipe)
