"""What ``mode=clean`` chooses by: held-out subjects of the training part, and never the test part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.data.module import open_dataset
from skelssl.pretrained.features import Features, standardised
from skelssl.pretrained.load import build_encoder
from skelssl.protocols.frozen import Frozen, linear, nearest
from skelssl.protocols.selection import recipe_candidates, select_and_score
from skelssl.results.scores import Scores
from tests.helpers.config import train_config


@pytest.fixture(scope="module")
def frozen(data_root: Path) -> Frozen:
    """A random encoder on all 48 tiny clips."""
    config = train_config(data_root, "method.encoder.hidden=8")
    method = config["method"]
    about = {"layout": "ntu25", **{key: method[key] for key in ("encoder", "recipe", "view", "probe")}}
    torch.manual_seed(0)
    data = open_dataset(config["dataset"], method["recipe"], data_root)
    return Frozen(build_encoder(about), data, device=torch.device("cpu"), precision="fp32")


def guesses(frozen: Frozen, right: int) -> Scores:
    """Scores of the test part with ``right`` correct clips."""
    rows = frozen.rows["test"]
    label = torch.from_numpy(frozen.data.store.labels[rows])
    guess = torch.where(torch.arange(len(rows)) < right, label, (label + 1) % 4)
    return Scores(torch.eye(4)[guess], label, torch.from_numpy(rows))


def test_validation_subjects_are_training_subjects_who_do_not_train(frozen: Frozen) -> None:
    part, subject = frozen.held_out(0), frozen.data.store.facts["subject"]
    train, asked = (set(subject[part.rows[side]]) for side in ("train", "test"))
    assert train
    assert asked
    assert not train & asked
    assert train | asked == set(subject[frozen.rows["train"]])
    assert sorted([*part.rows["train"], *part.rows["test"]]) == sorted(frozen.rows["train"])


def test_the_best_on_validation_is_refitted_on_all_and_the_first_of_equals_wins(frozen: Frozen) -> None:
    seen: list[tuple[dict[str, Any], int]] = []

    def run(part: Frozen, recipe: Any, seed: int) -> Scores:
        assert "choose" not in recipe
        seen.append((dict(recipe), len(part.rows["train"])))
        # On the test part the other candidate would be better: nobody may ask.
        right = {1: 3, 2: 5, 3: 5}[recipe["a"]] if part is not frozen else {1: 9, 2: 1, 3: 9}[recipe["a"]]
        return guesses(part, right)

    scores, chosen = select_and_score(run, frozen, {"choose": {"a": [1, 2, 3]}, "b": 7}, seed=0)
    assert chosen is not None
    assert chosen["values"] == {"a": 2}
    assert [one["a"] for one in chosen["tried"]] == [1, 2, 3]
    assert seen[-1] == ({"a": 2, "b": 7}, len(frozen.rows["train"]))
    assert all(n < len(frozen.rows["train"]) for _, n in seen[:-1])
    assert scores.top1 == 1 / len(frozen.rows["test"])
    assert select_and_score(run, frozen, {"a": 1}, seed=0)[1] is None


@pytest.mark.parametrize("protocol", [linear, nearest])
def test_the_choice_does_not_depend_on_the_test_clips(frozen: Frozen, protocol: Any) -> None:
    recipe: dict[str, Any] = {"standardise": True}
    recipe |= {"k": 1, "choose": {"k": [1, 3]}} if protocol is nearest else {"epochs": 3, "choose": {"lr": [0.1, 1e-3]}}
    if protocol is linear:
        recipe["view"] = "test"
    alone = Frozen(frozen.encoder, frozen.data, device=frozen.device, precision="fp32")
    alone.rows = {**frozen.rows, "test": frozen.rows["test"][::5]}
    assert select_and_score(protocol, frozen, recipe, 0)[1] == select_and_score(protocol, alone, recipe, 0)[1]


def test_candidates() -> None:
    grid = {"k": [1, 50], "temperature": [None, 0.1]}
    assert recipe_candidates(grid, clips=10) == [{"k": 1, "temperature": None}, {"k": 1, "temperature": 0.1}]
    assert len(recipe_candidates(grid, clips=50)) == 4
    with pytest.raises(UserError, match=r"protocol.choose.k: found \[5\], expected one of at most 4"):
        recipe_candidates({"k": [5]}, clips=4)
    for wrong in (0.1, "x", []):
        with pytest.raises(UserError, match=r"protocol.choose.lr: found .*, expected a list of candidates"):
            recipe_candidates({"lr": wrong}, clips=9)  # type: ignore[dict-item]


def test_standardised_by_the_training_rows_alone() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = 5 + 1e-4 * torch.randn(30, 2, 3, generator=g), torch.randn(7, 2, 3, generator=g)
    x[..., 2] = 0.1  # constant
    rows, ids = torch.arange(30), torch.arange(7)
    train, test = standardised(Features(x, rows, rows), Features(y, ids, ids))
    flat = x.double().numpy().reshape(60, 3)[:, :2]
    for found, given in ((train, x), (test, y)):
        expected = (given.double().numpy()[..., :2] - flat.mean(0)) / flat.std(0)
        np.testing.assert_allclose(found.x[..., :2], expected, rtol=1e-5)
        assert (found.x[..., 2] == 0).all()
