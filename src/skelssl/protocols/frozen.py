"""Protocols on a frozen encoder: features once, then a classifier on vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelssl.core.errors import UserError
from skelssl.data.loader import batches
from skelssl.data.module import Dataset
from skelssl.pretrained.attributes import Pretrained
from skelssl.pretrained.features import Features, extract, probe_split, standardised
from skelssl.protocols.autoencoder import autoencoder_codes
from skelssl.protocols.knn import knn
from skelssl.protocols.linear import Train, linear_probe
from skelssl.protocols.linear_recipe import LinearRecipe
from skelssl.results.scores import Scores
from skelssl.runtime.collectives import rank, world_size
from skelssl.skeleton.layout import load_layout


class Frozen:
    """One encoder on one dataset; each (part, view, draw) is kept for other protocols and seeds.

    ``limit`` keeps the first clips of each class of either part, for quick looks.
    """

    def __init__(
        self, encoder: nn.Module, data: Dataset, *, device: torch.device, precision: str, limit: int | None = None
    ) -> None:
        self.encoder, self.data, self.device, self.precision = encoder.to(device), data, device, precision
        loaded = Pretrained.of(encoder)
        self.views, self.view_configs = loaded.view, loaded.about["view"]
        if load_layout(loaded.about["layout"]) != load_layout(data.store.layout):
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
        share, seen = (rank(), world_size()), self.views[view]
        clips = batches(self.data.store, self.rows[part], share=share)
        place: dict[str, Any] = {"device": self.device, "precision": self.precision, "share": share}
        found = extract(self.encoder, seen, clips, ignore=self.ignore, seed=draw, **place).to("cpu")
        if keep:
            self.cache[part, view, draw] = found
        return found

    def held_out(self, seed: int) -> HeldOut:
        """The training clips alone, some of them in the place of the test clips."""
        return HeldOut(self, seed)


class HeldOut(Frozen):
    """The training part of ``whole`` cut in two, for choices that must not see the test part.

    By :func:`~skelssl.pretrained.features.probe_split`: a quarter of the subjects ask, the others train. No feature is
    computed that ``whole`` does not keep.
    """

    def __init__(self, whole: Frozen, seed: int) -> None:
        vars(self).update(vars(whole))
        rows, store = whole.rows["train"], whole.data.store
        label, subject = (torch.from_numpy(column[rows]) for column in (store.labels, store.facts["subject"]))
        train, test = probe_split(label, subject, max_clips=None, seed=seed)
        self.whole, self.rows = whole, {"train": rows[train.numpy()], "test": rows[test.numpy()]}

    def features(self, part: str, view: str, draw: int = 0, *, keep: bool = True) -> Features:
        found = self.whole.features("train", view, draw, keep=keep)
        return found.take(torch.isin(found.index, torch.from_numpy(self.rows[part])))


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
    """Linear evaluation: the training clips' features train one layer, the test view's are scored."""
    plan, where = LinearRecipe.read(recipe), frozen.device

    def encoded(epoch: int) -> Features:
        if plan.view == "test":
            return frozen.features("train", "test").averaged().to(where)
        reused = plan.passes < plan.epochs  # else each pass serves one epoch, and all of them would fill the memory
        return frozen.features("train", "probe", draw=epoch % plan.passes, keep=reused).to(where)

    train: Train = encoded
    test = frozen.features("test", "test").to(where)
    if plan.standardise:
        train, test = standardised(encoded(0), test)
    return linear_probe(train, test, classes=frozen.data.classes, recipe=recipe, seed=seed)


def nearest(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """k nearest neighbours: training clips are the gallery, both sides under the deterministic test view.

    ``standardise`` in ``recipe`` does so with both sides' features, before they are scaled to length 1;
    ``autoencoder`` looks in a learnt code instead.
    """
    return neighbour_votes(frozen, recipe, *gallery_and_queries(frozen, recipe, seed))


def neighbour_votes(frozen: Frozen, recipe: Mapping[str, Any], train: Features, test: Features) -> Scores:
    """The neighbours' votes, with what ``recipe`` says of them."""
    options = {key: value for key, value in recipe.items() if key not in ("standardise", "autoencoder")}
    return knn(train, test, classes=frozen.data.classes, **options)


def gallery_and_queries(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> tuple[Features, Features]:
    """What neighbours are looked for in, and for what; standardised or encoded where ``recipe`` says so."""
    train, test = (frozen.features(part, "test").to(frozen.device) for part in ("train", "test"))
    if recipe.get("standardise"):
        train, test = standardised(train.averaged(), test.averaged())
    return autoencoder_codes(train, test, seed) if recipe.get("autoencoder") else (train, test)
