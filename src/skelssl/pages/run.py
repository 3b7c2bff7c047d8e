"""Open a run folder for its page. Each part, such as data or encoder, is loaded when a section first uses it."""

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
from skelssl.pages.clip_figures import without_confidence
from skelssl.pretrained.features import Features
from skelssl.pretrained.load import load_encoder
from skelssl.pretrained.trust import check_target
from skelssl.protocols.frozen import Frozen
from skelssl.results.read import Result, find_results
from skelssl.skeleton.layout import Layout, load_layout

NOT_EVALUATED = "This run has not been evaluated yet."

# Approximate numbers of test and training clips to encode, such that encoders of published sizes take minutes.
CLIPS = {"cpu": (1000, 2000), "cuda": (3000, 6000)}


class SectionUnavailable(Exception):
    """Raised by a section whose data do not exist yet: the reason, and the command that creates them."""

    def __init__(self, reason: str, command: str = "") -> None:
        super().__init__(reason, command)
        self.reason, self.command = reason, command


@dataclass(frozen=True)
class Section:
    """The content of a section: a caption in plain text, and the HTML of its figures."""

    caption: str
    html: str


class OpenedRun:
    """A run folder and what it refers to, loaded on first use.

    Properties and methods raise UserError where a file, the data or the encoder is missing.

    Args:
        run: The folder of a finished or unfinished run.
        floors: Accuracies of raw coordinates by protocol, as fractions.
    """

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
        """True if the third coordinate is a confidence (2-D clips)."""
        return self.data.store.flat

    @cached_property
    def encoder(self) -> nn.Module:
        return load_encoder(self.run)

    @cached_property
    def method(self) -> Method:
        return load_trained_method(self.config, self.run)

    @cached_property
    def results(self) -> list[Result]:
        """All evaluations of the run; empty before the first one."""
        return find_results([self.run]) if any(self.run.rglob("result.json")) else []

    def evaluations(self, protocol: str) -> list[Result]:
        """Return all evaluations; raise SectionUnavailable with the command of ``protocol`` where there are none."""
        if not self.results:
            raise SectionUnavailable(NOT_EVALUATED, self.evaluate_command(protocol))
        return self.results

    def evaluate_command(self, protocol: str) -> str:
        """Return the command that evaluates the run under ``protocol``."""
        return f"python -m skelssl.evaluate protocol={protocol} checkpoint={self.run}"

    @cached_property
    def _frozen(self) -> Frozen:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        (n_test, n_train), train, test = CLIPS[device.type], self.data.train, self.data.test
        part = replace(self.data, train=train[:: 1 + len(train) // n_train], test=test[:: 1 + len(test) // n_test])
        return Frozen(self.encoder, part, device=device, precision="fp32")

    def features(self, part: str) -> Features:
        """Return the features of ``train`` or ``test`` clips under the test view; of large splits, an even subset."""
        return self._frozen.features(part, "test")

    def clip(self, row: int) -> Tensor:
        """Return one clip (1, 3, T, V, M) as the recipe stores it."""
        return self.data.store.gather(np.array([row])).x

    def positions(self, row: int) -> Tensor:
        """Return one clip (1, 3, T, V, M) as it is drawn: the confidence of 2-D clips is set to 0."""
        return without_confidence(self.clip(row)) if self.flat else self.clip(row)

    def named(self, row: int) -> str:
        """Return class and name of a clip, such as ``drinking, S001C001P001R001A001``."""
        store = self.data.store
        return f"{self.data.class_names[int(store.labels[row])]}, {store.names[row]}"
