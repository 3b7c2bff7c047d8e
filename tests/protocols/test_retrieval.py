"""Skeleton-contrast's protocols: retrieval by the nearest clip, and a linear probe that sees new crops in each pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.data.loader import batches
from skelssl.data.module import open_dataset
from skelssl.encoders.agcn import AGCN
from skelssl.pretrained.features import Features, extract
from skelssl.pretrained.foreign import foreign_about
from skelssl.pretrained.load import build_encoder
from skelssl.protocols.frozen import Frozen, linear
from skelssl.protocols.linear import epoch_batches, epoch_order, linear_head, linear_probe, train_head
from skelssl.protocols.linear_recipe import LinearRecipe
from skelssl.protocols.plan import read_protocols
from skelssl.protocols.retrieval import average_precision, retrieval
from tests.helpers.config import train_config

RECIPE = {"optimizer": "sgd", "lr": 0.1, "epochs": 4, "batch": 8, "schedule": "step", "milestones": [2, 3],
          "init": "normal_0.01"}  # fmt: skip


@pytest.fixture(scope="module")
def frozen(data_root: Path) -> Frozen:
    config = train_config(data_root, "method=skeleton_contrast")
    about = foreign_about("skeleton_contrast")
    block = {key: value for key, value in about["encoder"]["graph"].items() if key != "_partial_"}
    torch.manual_seed(0)
    encoder = build_encoder({**about, "encoder": {**block, "hidden": 4}})
    data = open_dataset(config["dataset"], about["recipe"], data_root)
    return Frozen(encoder, data, device=torch.device("cpu"), precision="fp32")


def draw(n: int, seed: int) -> Features:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (n,), generator=g)
    return Features(torch.randn(n, 1, 4, generator=g) + label.view(-1, 1, 1), label, torch.arange(n))


def test_retrieval_is_the_class_of_the_most_similar_training_clip(frozen: Frozen) -> None:
    scores = retrieval(frozen, read_protocols("retrieval")[0]["recipe"], 0)
    gallery, queries = (frozen.features(part, "test") for part in ("train", "test"))
    hits = 0
    for query, label in zip(queries.x[:, 0].double(), queries.label, strict=True):
        cosines = [float(query @ clip / query.norm() / clip.norm()) for clip in gallery.x[:, 0].double()]
        hits += int(gallery.label[cosines.index(max(cosines))] == label)
    assert scores.top1 == hits / len(queries)
    assert scores.extra["map"] == pytest.approx(sum(naive_precision(gallery, queries)) / len(queries))


def naive_precision(gallery: Features, queries: Features) -> list[float]:
    """Word by word: rank the gallery, and average the precision at each clip of the query's class."""
    found = []
    for query, label in zip(queries.x.double().mean(1), queries.label, strict=True):
        cosines = [float(F.cosine_similarity(query, clip, dim=0)) for clip in gallery.x.double().mean(1)]
        order = sorted(range(len(cosines)), key=lambda row: (-round(cosines[row], 9), row))
        ranks = [rank for rank, row in enumerate(order, 1) if gallery.label[row] == label]
        found.append(sum(hit / rank for hit, rank in enumerate(ranks, 1)) / max(len(ranks), 1))
    return found


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_average_precision_is_its_definition(chunk: int) -> None:
    gallery, queries = draw(40, 0), draw(17, 1)
    queries.label[3] = 7  # a class without any training clip
    found = average_precision(gallery, queries, chunk=chunk)
    assert found.tolist() == pytest.approx(naive_precision(gallery, queries))
    assert found[3] == 0


def test_average_precision_of_a_known_ranking() -> None:
    """Relevant at ranks 1 and 3 of 4: (1/1 + 2/3) / 2."""
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3])
    x = torch.stack([angles.cos(), angles.sin()], 1)[:, None]
    gallery = Features(x, torch.tensor([1, 0, 1, 0]), torch.arange(4))
    query = Features(x[:1], torch.tensor([1]), torch.tensor([9]))
    assert average_precision(gallery, query).tolist() == pytest.approx([5 / 6])


@pytest.mark.parametrize("queries", [1, 3, 64])
def test_clips_alike_rank_by_their_row_wherever_they_stand(queries: int) -> None:
    """A matrix product gives equal columns unequal last bits; the ranking must not notice."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(1, 1, 64, generator=g).double() * torch.rand(1001, 1, 1, generator=g)  # alike but for the last bits
    label = torch.arange(1001) % 2
    gallery = Features(x, label, torch.arange(1001))
    asked = Features(torch.randn(queries, 1, 64, generator=g), torch.ones(queries).long(), torch.arange(queries))
    expected = sum(hit / (2 * hit) for hit in range(1, 501)) / 500
    assert average_precision(gallery, asked).tolist() == pytest.approx([expected] * queries, rel=1e-12)


def test_both_sides_are_seen_through_the_centre(frozen: Frozen) -> None:
    for part in ("train", "test"):
        clips = batches(frozen.data.store, frozen.rows[part], 5)
        expected = extract(frozen.encoder, frozen.views["test"], clips, device="cpu")
        torch.testing.assert_close(frozen.features(part, "test").x, expected.x, rtol=1e-4, atol=1e-5)


def test_features_do_not_depend_on_the_batch() -> None:
    """P8, in evaluation mode."""
    torch.manual_seed(0)
    encoder, x = AGCN(hidden=4).eval(), torch.randn(64, 3, 8, 25, 2)
    with torch.no_grad():
        together, alone = encoder(x), torch.cat([encoder(row) for row in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_pass_has_crops_of_its_own_and_is_repeatable(frozen: Frozen) -> None:
    first, again, other = (frozen.features("train", "probe", draw=k, keep=False).x for k in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert ("train", "probe", 0) not in frozen.cache
    assert frozen.features("test", "test", draw=5) is frozen.features("test", "test")


def slow_way(frozen: Frozen, passes: int) -> Tensor:
    """The reference's loop: the training clips cropped and encoded anew in each epoch, torch's own scheduler."""
    plan = LinearRecipe.read({**RECIPE, "passes": passes})
    width, classes = frozen.features("test", "test").x.shape[-1], frozen.data.classes
    head = linear_head(width, classes, plan, 7)
    optimizer = torch.optim.SGD(head.parameters(), 0.1, 0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3], 0.1)
    for epoch in range(4):
        one = LinearRecipe.read({**RECIPE, "epochs": 1, "schedule": "constant"})
        features = frozen.features("train", "probe", draw=epoch % passes, keep=False)
        for rows in epoch_batches(epoch_order(len(features), 7, epoch), one):
            loss = nn.functional.cross_entropy(head(features.x[rows, 0]), features.label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
    with torch.no_grad():
        logits: Tensor = head(frozen.features("test", "test").x[:, 0])
    return logits


@pytest.mark.parametrize("passes", [1, 3, 4])
def test_the_linear_probe_trains_on_new_crops_in_every_pass(frozen: Frozen, passes: int) -> None:
    scores = linear(frozen, {**RECIPE, "passes": passes}, 7)
    torch.testing.assert_close(scores.logits, slow_way(frozen, passes), rtol=1e-4, atol=1e-5)


def test_the_encoder_stays_as_it_is_and_two_tensors_train(frozen: Frozen) -> None:
    """P9."""
    before = {key: value.clone() for key, value in frozen.encoder.state_dict().items()}
    linear(frozen, {**RECIPE, "passes": 2}, 0)
    assert all(torch.equal(value, before[key]) for key, value in frozen.encoder.state_dict().items())
    head = linear_head(2048, 60, LinearRecipe.read(RECIPE), 0)
    assert [p.numel() for p in head.parameters()] == [122_880, 60]


def test_the_published_probe() -> None:
    recipe: Any = foreign_about("skeleton_contrast")["probe"]["linear"]
    plan = LinearRecipe.read(recipe)
    assert [plan.lr_at(epoch) for epoch in (0, 49, 50, 69, 70, 79)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3])
    assert (plan.optimizer, plan.batch, plan.weight_decay, plan.passes == plan.epochs) == ("sgd", 64, 0.0, True)
    weight = linear_head(4096, 60, plan, 0)[-1].weight
    assert float(weight.detach().std()) == pytest.approx(0.01, rel=0.02)


def test_fit_takes_features_of_each_epoch() -> None:
    train, test, plan = draw(20, 0), draw(9, 1), LinearRecipe.read(RECIPE)
    asked: list[int] = []

    def features(epoch: int) -> Features:
        asked.append(epoch)
        return train

    heads = [linear_head(4, 3, plan, 0) for _ in range(2)]
    assert (
        [*train_head(heads[0], train, plan, 0)] == [*train_head(heads[1], features, plan, 0)] == asked == [0, 1, 2, 3]
    )
    assert all(torch.equal(a, b) for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True))
    found = linear_probe(features, test, classes=3, recipe=RECIPE, seed=0)
    assert torch.equal(found.logits, linear_probe(train, test, classes=3, recipe=RECIPE, seed=0).logits)
