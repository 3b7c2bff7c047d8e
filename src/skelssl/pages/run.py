"""A finished or unfinished run, opened for looking: every part is loaded when a section first asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from skelssl.core.runs import load_config
from skelssl.data.module import Dataset, open_dataset
from skelssl.methods.base import Method
from skelssl.methods.build import load_trained_method
from skelssl.pages.clip_figures import flattened
from skelssl.pretrained.features import Features
from skelssl.pretrained.load import load_encoder
from skelssl.pretrained.trust import check_target
from skelssl.protocols.frozen import Frozen
from skelssl.results.read import Result, find_results
from skelssl.skeleton.layout import Layout, load_layout

# Test and training clips that are encoded for the page, about: as many as a device does in minutes at published sizes.
CLIPS = {"cpu": (1000, 2000), "cuda": (3000, 6000)}


class Missing(Exception):
    """A section has nothing to show: why, and the command that would change it."""

    def __init__(self, why: str, command: str = "") -> None:
        super().__init__(why, command)
        self.why, self.command = why, command


@dataclass(frozen=True)
class Section:
    """What stands under a title."""

    caption: str
    html: str


class Look:
    """A run folder; ``floors`` are fractions by protocol. A property raises UserError, which says what is gone."""

    def __init__(self, run: Path, floors: Mapping[str, float] | None = None) -> None:
        self.run, self.floors = run, floors or {}
        self.config = load_config(run)
        check_target({key: self.config[key] for key in ("dataset", "method")})

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @cached_property
    def data(self) -> Dataset:
        return open_dataset(self.config["dataset"], self.config["method"]["recipe"], self.config["data_root"])

    @property
    def body(self) -> Layout:
        return load_layout(self.data.store.layout)

    @property
    def flat(self) -> bool:
        """Is the third coordinate a confidence?"""
        return self.data.store.flat

    @cached_property
    def encoder(self) -> nn.Module:
        return load_encoder(self.run)

    @cached_property
    def method(self) -> Method:
        return load_trained_method(self.config, self.run)

    @cached_property
    def results(self) -> list[Result]:
        """Every evaluation of the run, none at all included."""
        return find_results([self.run]) if any(self.run.rglob("result.json")) else []

    @cached_property
    def _frozen(self) -> Frozen:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        (n_test, n_train), train, test = CLIPS[device.type], self.data.train, self.data.test
        part = replace(self.data, train=train[:: 1 + len(train) // n_train], test=test[:: 1 + len(test) // n_test])
        return Frozen(self.encoder, part, device=device, precision="fp32")

    def features(self, part: str) -> Features:
        """Of ``train`` or ``test`` clips, spread over the set where there are many, under the test view."""
        return self._frozen.features(part, "test")

    def clip(self, row: int) -> Tensor:
        """One clip (1, 3, T, V, M) as its recipe stores it."""
        return self.data.store.gather(np.array([row])).x

    def positions(self, row: int) -> Tensor:
        """One clip (1, 3, T, V, M) as it is drawn: a confidence is no third coordinate."""
        return flattened(self.clip(row)) if self.flat else self.clip(row)

    def named(self, row: int) -> str:
        """``drinking, S001C001P001R001A001``."""
        store = self.data.store
        return f"{self.data.class_names[int(store.labels[row])]}, {store.names[row]}"
