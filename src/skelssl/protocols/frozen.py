"""Compute the features of a frozen encoder once, and classify them by a linear layer or by neighbours."""

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
    """A frozen encoder on a dataset, with a cache of its features for all protocols and seeds.

    Args:
        encoder: As ``load_encoder`` returns it; it moves to ``device``.
        data: The dataset, split and stores.
        device: Where features are computed.
        precision: ``fp32`` or ``bf16``.
        limit: Keep only so many clips of each class on either side, for quick evaluations.

    Raises:
        UserError: The dataset has another skeleton layout than the encoder.
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
        self.ignore: Sequence[int] = ()  # joints that the encoder leaves out
        self.cache: dict[tuple[str, str, int], Features] = {}

    def features(self, part: str, view: str, draw: int = 0, *, keep: bool = True) -> Features:
        """Return features of one side of the split, on the CPU; computed once, then read from the cache.

        Args:
            part: ``train`` or ``test``.
            view: ``probe`` (that of training clips, which may crop at random) or ``test``.
            draw: Number of the draw of random crops.
            keep: Whether the features stay in the cache.

        Returns:
            Features (N, K, D) of N clips, each seen through K crops.
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
        """Return the training clips alone, split into two sides, so that nothing is selected on the test split."""
        return HeldOut(self, seed)


class HeldOut(Frozen):
    """The training clips of ``whole``, split in two for model selection that must not see the test split.

    By :func:`~skelssl.pretrained.features.probe_split` a quarter of the subjects validate and the others train. The
    features are those of ``whole``, from its cache.
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
    """Return the first ``limit`` of the ``rows`` (N,) of each class, or all of them where it is None."""
    if limit is None:
        return rows
    return np.sort(np.concatenate([rows[labels[rows] == c][:limit] for c in np.unique(labels[rows])]))


COVERAGE = ("classes_without_training", "test_clips_without_training")


def coverage(frozen: Frozen) -> dict[str, int]:
    """Count the classes without a training clip, and their test clips, which no protocol can classify correctly."""
    labels = frozen.data.store.labels
    shown = np.isin(np.arange(frozen.data.classes), labels[frozen.rows["train"]])
    hopeless = int((~shown[labels[frozen.rows["test"]]]).sum())
    return dict(zip(COVERAGE, (int((~shown).sum()), hopeless), strict=True))


def linear(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """Train one linear layer on the frozen features of the training clips and score the test clips.

    Args:
        frozen: The encoder on a dataset.
        recipe: The keys of :class:`LinearRecipe`.
        seed: Decides the initial layer and the order of the batches.

    Returns:
        Scores of the test clips, which are encoded under the test view, after the last epoch; ``best_epoch_top1`` is
        the best of all epochs.

    Raises:
        UserError: The recipe is invalid, or the layer diverged.
    """
    plan, where = LinearRecipe.read(recipe), frozen.device

    def encoded(epoch: int) -> Features:
        if plan.view == "test":
            return frozen.features("train", "test").averaged().to(where)
        reused = (
            plan.passes < plan.epochs
        )  # else each pass serves one epoch only, and keeping all of them would fill the memory
        return frozen.features("train", "probe", draw=epoch % plan.passes, keep=reused).to(where)

    train: Train = encoded
    test = frozen.features("test", "test").to(where)
    if plan.standardise:
        train, test = standardised(encoded(0), test)
    return linear_probe(train, test, classes=frozen.data.classes, recipe=recipe, seed=seed)


def nearest(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """Classify each test clip by its k nearest training clips; nothing but an optional auto-encoder is trained.

    Test clips are the queries and training clips the gallery, both under the deterministic test view.

    Args:
        frozen: The encoder on a dataset.
        recipe: ``k`` and ``temperature`` of :func:`~skelssl.protocols.knn.knn`; ``standardise`` to do so before
            features are scaled to length 1; ``autoencoder`` to compare codes of one that is trained on the gallery.
        seed: Of the auto-encoder; nothing else is drawn.

    Returns:
        Scores of the test clips: the neighbours' votes, (N, classes).

    Raises:
        UserError: ``k`` or ``temperature`` is invalid.
    """
    return neighbour_votes(frozen, recipe, *gallery_and_queries(frozen, recipe, seed))


def neighbour_votes(frozen: Frozen, recipe: Mapping[str, Any], train: Features, test: Features) -> Scores:
    """Return the votes of the nearest neighbours under the ``k`` and ``temperature`` of ``recipe``."""
    options = {key: value for key, value in recipe.items() if key not in ("standardise", "autoencoder")}
    return knn(train, test, classes=frozen.data.classes, **options)


def gallery_and_queries(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> tuple[Features, Features]:
    """Return features of the gallery (training clips) and the queries (test clips), processed as ``recipe`` says."""
    train, test = (frozen.features(part, "test").to(frozen.device) for part in ("train", "test"))
    if recipe.get("standardise"):
        train, test = standardised(train.averaged(), test.averaged())
    return autoencoder_codes(train, test, seed) if recipe.get("autoencoder") else (train, test)
