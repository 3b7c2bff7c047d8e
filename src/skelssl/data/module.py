"""Open a dataset from its ``dataset`` block and a recipe; a recipe store that is missing is derived and reported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.data.build.prepare import parsed_folder, prepare_dataset
from skelssl.data.custom.source import Custom
from skelssl.data.loader import CPU, TrainLoader
from skelssl.data.recipes import RecipeConfig
from skelssl.data.source import Source, coordinates_of
from skelssl.data.store import RecipeStore, open_store
from skelssl.runtime.collectives import rank, world_size
from skelssl.skeleton.layout import load_layout


@dataclass(frozen=True)
class Dataset:
    """One split of one dataset under one recipe."""

    name: str
    store: RecipeStore
    train: NDArray[np.int64]  # indices of the training clips
    test: NDArray[np.int64]  # indices of the test clips
    classes: int
    class_names: list[str]

    @property
    def fingerprint(self) -> str:
        """Return a hash of the arrays and of the training and test splits."""
        digest = hashlib.sha256(self.store.fingerprint.encode())
        for rows in (self.train, self.test):
            digest.update("\n".join(self.store.names[i] for i in rows).encode() + b"\0")
        return digest.hexdigest()[:16]


def open_dataset(config: Mapping[str, Any], recipe: Mapping[str, Any], data_root: str | Path) -> Dataset:
    """Open one split of a dataset under one recipe.

    A generated source (the synthetic dataset) is prepared on first use, and a missing recipe store is derived.

    Args:
        config: the block of ``conf/dataset/<name>``
        recipe: the block ``method.recipe``
        data_root: the folder that holds ``<dataset>/v1``

    Returns:
        the recipe store, the indices of its training and test clips, and the class names

    Raises:
        UserError: for a dataset that is not prepared, or that does not match the recipe, the layout, the split or the
            number of classes in ``config``
    """
    if config.get("split") is None:
        names = ", ".join(f"{config['name']}_{split}" for split in config["splits"])
        raise UserError(f"dataset: found {config['name']}, which has no split, expected one of {names}")
    source: Source = instantiate(config["source"], _convert_="all")
    stages = _checked_recipe(config, recipe, source)
    folder = _prepared(source, Path(data_root))
    store = open_store(folder, stages)
    if load_layout(store.layout) != load_layout(config["layout"]):
        raise UserError(
            f"dataset.layout: found {config['layout']}, expected {store.layout}, the layout that {folder} was prepared "
            f"with; pass dataset.layout={store.layout}"
        )
    if store.skipped:
        print(f"{len(store.skipped)} clips are left out, see {store.folder / 'recipe.json'}")
    train, test = _sides(config, folder, store)
    class_names: list[str] = read_json(folder / "meta.json")["class_names"]
    classes = config["classes"] or len(class_names)
    if (highest := int(store.labels[np.concatenate([train, test])].max())) >= classes:
        raise UserError(
            f"dataset.classes: found {classes}, expected at least {highest + 1}, the classes of the clips in {folder}"
        )
    return Dataset(config["name"], store, train, test, classes, class_names)


def _checked_recipe(config: Mapping[str, Any], recipe: Mapping[str, Any], source: Source) -> RecipeConfig:
    """Return the parsed recipe; raise UserError if its coordinates differ from those of the source."""
    stages, coordinates = RecipeConfig.parse(recipe), coordinates_of(source, config)
    if stages.coordinates != coordinates:
        raise UserError(
            f"dataset={config['name']}: found clips of {coordinates}, expected {stages.coordinates}, which the recipe "
            "takes (dataset.coordinates)"
        )
    return stages


def _prepared(source: Source, data_root: Path) -> Path:
    """Return the folder of the parsed store; a generated dataset is prepared first."""
    folder = parsed_folder(data_root, source)
    if source.generated:
        prepare_dataset(source, data_root=data_root, raw=[], workers=1, strict=False)
    if not folder.exists():
        raise UserError(
            f"{folder}: not found, expected the prepared {source.dataset}; "
            f"run: python -m skelssl.prepare {_named(source)} raw=PATH"
        )
    return folder


def _sides(config: Mapping[str, Any], folder: Path, store: RecipeStore) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training and the test clips; raise UserError if either side is empty."""
    lists = {file.stem: file for file in sorted((folder.parent / "splits").glob("[!.]*.json"))}
    if config["split"] not in lists:
        raise UserError(
            f"dataset={config['name']}: found no such split in {folder.parent}, expected one of {', '.join(lists)} "
            "(an import without sample names has only the split of its file; names=FILE provides them)"
        )
    split = read_json(lists[config["split"]])
    train, test = store.rows(split["train"]), store.rows(split["test"])
    if len(train) == 0 or len(test) == 0:
        raise UserError(
            f"dataset={config['name']}: found {len(train)} training and {len(test)} test clips in {folder.parent}, "
            "expected both sides of the split to have clips"
        )
    return train, test


def _named(source: Source) -> str:
    """Return the command-line overrides that select the dataset."""
    custom = isinstance(source, Custom)
    return f"dataset=custom dataset.name={source.dataset}" if custom else f"dataset={source.dataset}"


class SkeletonData(L.LightningDataModule):
    """The unlabelled training split of a dataset as a Lightning data module.

    Args:
        dataset: the block of ``conf/dataset/<name>``: source, layout, split, classes, ...
        recipe: the block ``method.recipe``
        loader: the block ``method.loader``, the arguments of `TrainLoader`; ``batch`` is the global batch size
        data_root: the folder that holds the prepared datasets
        seed: decides the order of the clips in every epoch
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        recipe: Mapping[str, Any],
        loader: Mapping[str, Any],
        data_root: str,
        seed: int,
    ) -> None:
        super().__init__()
        self.config, self.recipe, self.loader = dataset, recipe, dict(loader)
        self.data_root, self.seed = data_root, seed
        self._open: Dataset | None = None

    @property
    def dataset(self) -> Dataset:
        """Open the split on first access, as `open_dataset`; a missing recipe store is derived under a lock."""
        self._open = self._open or open_dataset(self.config, self.recipe, self.data_root)
        return self._open

    def state_dict(self) -> dict[str, Any]:
        """Return the fingerprint of the data for the checkpoint."""
        return {"fingerprint": self.dataset.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raise UserError for a checkpoint of different data: its position in the epoch would refer to other clips."""
        if state_dict["fingerprint"] != self.dataset.fingerprint:
            raise UserError(
                f"data_root={self.data_root}: found data of fingerprint {self.dataset.fingerprint}, expected "
                f"{state_dict['fingerprint']} as in the checkpoint; rerun=true starts anew"
            )

    def train_dataloader(self) -> TrainLoader:
        """Return this rank's training batches, for the device of the trainer."""
        trainer = self.trainer
        loader = self.part(rank(), world_size(), trainer.strategy.root_device if trainer else CPU)
        if loader.keep and rank() == 0:
            print(f"the {loader.needed / 1e9:.2f} GB of training clips stay on {loader.device}", flush=True)
        return loader

    def part(self, rank: int, world: int, device: torch.device = CPU) -> TrainLoader:
        """Return the training batches of one rank.

        Args:
            rank: of the process
            world: number of ranks
            device: the device of the batches

        Raises:
            UserError: for a batch size that ``world`` ranks cannot share
        """
        store, rows = self.dataset.store, self.dataset.train
        return TrainLoader(store, rows, seed=self.seed, rank=rank, world=world, device=device, **self.loader)
