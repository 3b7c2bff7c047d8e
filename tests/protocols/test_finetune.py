"""Fine-tuning against a naive loop, its parameter groups and rates against the papers, and as a user runs it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.data.module import open_dataset
from skelssl.encoders.transformer import Transformer
from skelssl.heads import TokenHead
from skelssl.pretrained.features import extract
from skelssl.pretrained.load import build_encoder, load_encoder
from skelssl.protocols import finetune as module
from skelssl.protocols.bench import evaluate
from skelssl.protocols.finetune import (
    Classifier,
    build_classifier,
    epoch_steps,
    finetune,
    parameter_groups,
    score_test_clips,
)
from skelssl.protocols.finetune_recipe import FinetuneRecipe
from skelssl.protocols.frozen import Frozen
from skelssl.results.scores import Scores
from skelssl.runtime.draws import seed_step, step_generator
from skelssl.training.loop import train
from tests.helpers.config import compose, train_config

METHODS = ("pstl", "skeleton_contrast", "mamp")
WHERE = "probe.finetune"


@pytest.fixture(scope="module")
def runs(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished smoke run of every method."""
    folders = {method: tmp_path_factory.mktemp(method) for method in METHODS}
    for method, folder in folders.items():
        train(train_config(data_root, f"method={method}", "callbacks.probe=null"), folder)
    return folders


def frozen_of(run: Path, data_root: Path, limit: int | None = 3, precision: str = "fp32") -> Frozen:
    encoder: Any = load_encoder(run)
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    assert isinstance(config, dict)
    data = open_dataset(config["dataset"], encoder.recipe, data_root)
    return Frozen(encoder, data, device=torch.device("cpu"), precision=precision, limit=limit)


def published(method: str, protocol: str = "finetune", **changes: Any) -> dict[str, Any]:
    return {**compose("train", f"method={method}")["method"]["probe"][protocol], **changes}


def full_encoder(method: str, **changes: Any) -> nn.Module:
    """The encoder in its published size; the first of a pair."""
    config = compose("train", f"method={method}")["method"]
    block = {**config["encoder"].get("seq", config["encoder"]), **changes}
    block.pop("_partial_", None)
    about = {"layout": "ntu25", "encoder": block, **{key: config[key] for key in ("recipe", "view", "probe")}}
    return build_encoder(about)


# --- the loop ---------------------------------------------------------------------------------------------------------


def naive(frozen: Frozen, seed: int) -> Tensor:
    """SGD with momentum 0.9, lr 0.01 then 0.001, batch 5, cross-entropy, all written out; logits of the test clips."""
    torch.manual_seed(seed)
    encoder: Any = load_copy(frozen)
    head = nn.Linear(encoder.dim, 4)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.01, momentum=0.9)
    for epoch in range(3):
        encoder.train()
        order = np.random.default_rng([seed, epoch]).permutation(frozen.rows["train"])
        for step, rows in enumerate([order[:5], order[5:10], order[10:]]):
            seed_step(seed, epoch, step, 0)
            optimizer.param_groups[0]["lr"] = 0.001 if epoch == 2 else 0.01
            batch = frozen.data.store.gather(rows)
            logits = head(encoder(frozen.views["probe"](batch, step_generator(seed, epoch, step, 0))))
            optimizer.zero_grad()
            (logits.logsumexp(1) - logits[torch.arange(len(rows)), batch.label]).mean().backward()
            optimizer.step()
    encoder.eval()
    test = frozen.data.store.gather(frozen.rows["test"])
    with torch.no_grad():
        logits = head(encoder(frozen.views["test"](test, torch.Generator())))
    assert isinstance(logits, Tensor)
    return logits


def load_copy(frozen: Frozen) -> nn.Module:
    """The encoder with weights of its own, without drawing from torch's generator afterwards."""
    state = torch.get_rng_state()
    encoder = build_encoder(frozen.encoder.about)  # type: ignore[arg-type]
    encoder.load_state_dict(frozen.encoder.state_dict())
    torch.set_rng_state(state)
    return encoder


def test_it_is_the_naive_loop(runs: dict[str, Path], data_root: Path) -> None:
    frozen = frozen_of(runs["pstl"], data_root)
    with torch.random.fork_rng():
        expected = naive(frozen, seed=3)
    found = finetune(frozen, published("skeleton_contrast", epochs=3, batch=5, milestones=[2]), seed=3)
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-5)
    assert found.label.tolist() == frozen.data.store.labels[frozen.rows["test"]].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_it_leaves_everything_else_as_it_was_and_repeats_itself(
    runs: dict[str, Path], data_root: Path, method: str
) -> None:
    frozen = frozen_of(runs[method], data_root)
    before = {key: value.clone() for key, value in frozen.encoder.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    recipe = published(method, epochs=2, batch=4) | ({"warmup_epochs": 1} if method == "mamp" else {"milestones": [1]})
    first = finetune(frozen, recipe, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in frozen.encoder.state_dict().items())
    assert not frozen.encoder.training
    torch.rand(5)
    assert torch.equal(finetune(frozen, recipe, seed=1).logits, first.logits)
    assert not torch.equal(finetune(frozen, recipe, seed=2).logits, first.logits)


def test_it_learns(runs: dict[str, Path], data_root: Path) -> None:
    """Twelve clips of four classes by heart."""
    frozen = frozen_of(runs["mamp"], data_root)
    frozen.rows["test"] = frozen.rows["train"]
    plain = {"drop_path": 0.0, "head_dropout": 0.0, "layer_decay": 1.0, "test_every": 60}
    recipe = published("mamp", epochs=60, batch=12, lr=1e-3, **plain)
    assert finetune(frozen, recipe, seed=0).top1 == 1.0


def test_an_unknown_precision_is_refused_before_anything_is_trained(runs: dict[str, Path], data_root: Path) -> None:
    place = (f"checkpoint='{runs['pstl']}'", f"data_root='{data_root}'", "precision=fp17")
    config = compose("evaluate", "protocol=finetune", *place)
    with pytest.raises(UserError, match="precision: found 'fp17', expected one of fp32, bf16"):
        evaluate(config, [config["protocol"]])


def test_bf16_trains(runs: dict[str, Path], data_root: Path) -> None:
    recipe = published("mamp", epochs=1, warmup_epochs=0)
    full = finetune(frozen_of(runs["mamp"], data_root), recipe, seed=0).logits
    half = finetune(frozen_of(runs["mamp"], data_root, precision="bf16"), recipe, seed=0).logits
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.1)


def test_the_last_epoch_is_reported_and_the_best_beside_it(
    runs: dict[str, Path], data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = iter([1, 3, 2])  # of four clips, per look at the test set

    def looked_at(model: Classifier, frozen: Frozen) -> Scores:
        right = torch.arange(4) < next(hits)
        label = torch.arange(4)
        return Scores(F.one_hot(torch.where(right, label, (label + 1) % 4), 4).float(), label, label)

    monkeypatch.setattr(module, "score_test_clips", looked_at)
    scores = finetune(frozen_of(runs["pstl"], data_root), published("pstl", epochs=5, test_every=2), seed=0)
    assert (scores.top1, scores.best_epoch_top1) == (0.5, 0.75)
    assert next(hits, None) is None  # after epochs 2, 4 and the last


def test_logits_are_averaged_over_the_clips_of_a_sample(runs: dict[str, Path], data_root: Path) -> None:
    frozen = frozen_of(runs["pstl"], data_root)
    model = build_classifier(frozen.encoder, 4, FinetuneRecipe(), where=WHERE)
    plain = frozen.views["test"]

    class Scaled(nn.Module):
        def forward(self, batch: Any, generator: torch.Generator) -> Tensor:
            return torch.stack([k * plain(batch, generator) for k in (1.0, 0.5, 2.0)], 1).flatten(0, 1)

    frozen.views = {"test": Scaled()}
    batch = frozen.data.store.gather(frozen.rows["test"])
    model.eval()
    with torch.no_grad():
        x = plain(batch, torch.Generator())
        expected = (model(x) + model(0.5 * x) + model(2 * x)) / 3
    torch.testing.assert_close(score_test_clips(model, frozen).logits, expected)


def test_steps_hold_every_row_once_and_no_lone_one() -> None:
    rows = np.arange(100, 113)
    steps = epoch_steps(rows, 4, seed=5, epoch=1)
    assert [len(step) for step in steps] == [4, 4, 5]
    assert sorted(np.concatenate(steps)) == list(rows)
    assert not np.array_equal(np.concatenate(steps), np.concatenate(epoch_steps(rows, 4, seed=5, epoch=2)))


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "count"), [(60, 13_236_284), (120, 13_359_224), (51, 13_217_843)])
def test_the_large_head_has_its_published_size(classes: int, count: int) -> None:
    with torch.device("meta"):
        head = TokenHead(in_dim=6400, classes=classes)
    assert sum(p.numel() for p in head.parameters()) == count


def test_ha_cm_with_its_head_has_its_published_size() -> None:
    with torch.device("meta"):
        encoder = Transformer(frames=72, patch=3, joints="outer", curvature=1.0)
        head = TokenHead(in_dim=encoder.grid[1] * encoder.dim, classes=60)
    assert sum(p.numel() for module in (encoder, head) for p in module.parameters()) == 15_898_172


def test_the_large_head_is_its_definition() -> None:
    """Value and gradient in double precision, dropout off, one clip after the other."""
    torch.manual_seed(0)
    head = TokenHead(in_dim=6, classes=3, dim=5, dropout=0.0).double()
    tokens = torch.randn(4, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True)  # N M S V D
    first, norm, _, last = head.mlp
    rows = []
    for clip in tokens:
        persons = [torch.cat([person[:, v].mean(0) for v in range(2)]) for person in clip]
        rows.append(first(sum(persons) / 2))  # type: ignore[operator]
    hidden = torch.stack(rows)
    scaled = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt() * norm.weight + norm.bias
    expected = last(scaled.relu())
    weight = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), tokens)
    found = head(tokens)
    (gradient,) = torch.autograd.grad((found * weight).sum(), tokens)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)


def test_layer_decay_and_weight_decay_of_mamp() -> None:
    """Spec: 0.8^(9 - id), id 0 for patches and positions, i + 1 for block i, 9 for the last norm and the head."""
    plan = FinetuneRecipe.read(published("mamp"))
    model = build_classifier(full_encoder("mamp"), 60, plan, where=WHERE)
    groups = parameter_groups(model, plan, where=WHERE)
    found = {id(p): (g["lr_scale"], g.get("weight_decay", 0.05)) for g in groups for p in g["params"]}
    assert sum(len(g["params"]) for g in groups) == len(found) == len(list(model.parameters()))
    for name, p in model.named_parameters():
        layer = int(name.split(".")[2]) + 1 if ".blocks." in name else 0
        layer = 9 if name.startswith(("head.", "encoder.norm.")) else layer
        assert found[id(p)] == (pytest.approx(0.8 ** (9 - layer)), 0.05 if p.ndim > 1 else 0.0), name


def test_the_norm_of_skeleton2vec_belongs_to_its_last_block_and_positions_are_spared() -> None:
    plan = FinetuneRecipe.read(published("skeleton2vec"))
    model = build_classifier(full_encoder("skeleton2vec"), 60, plan, where=WHERE)
    groups = parameter_groups(model, plan, where=WHERE)
    found = {id(p): (g["lr_scale"], g.get("weight_decay")) for g in groups for p in g["params"]}
    named = dict(model.named_parameters())
    assert found[id(named["encoder.norm.weight"])] == (pytest.approx(0.8), 0.0)
    assert found[id(named["encoder.positions.time"])] == (pytest.approx(0.8**9), 0.0)
    assert found[id(named["encoder.patch_embed.weight"])] == (pytest.approx(0.8**9), None)
    assert found[id(named["encoder.blocks.7.gamma1"])] == (pytest.approx(0.8), 0.0)
    assert found[id(named["head.mlp.0.weight"])] == (1.0, None)


def test_drop_path_is_the_recipes_and_the_weights_are_the_encoders() -> None:
    encoder: Any = full_encoder("mamp")
    model: Any = build_classifier(encoder, 60, FinetuneRecipe.read(published("mamp")), where=WHERE)
    rates = [block.drop_path for block in model.encoder.blocks]
    assert rates == pytest.approx([0.3 * i / 7 for i in range(8)])
    assert [block.drop_path for block in encoder.blocks] == [0.0] * 8
    own, copied = encoder.state_dict(), model.encoder.state_dict()
    assert all(torch.equal(own[key], copied[key]) for key in own)
    assert not {p.data_ptr() for p in encoder.parameters()} & {p.data_ptr() for p in model.parameters()}


@pytest.mark.parametrize(
    ("method", "epoch", "fraction", "rate"),
    [
        ("pstl", 0, 0.9, 5e-3),
        ("pstl", 75, 0.0, 2.5e-3),
        ("pstl", 149, 0.0, 5e-3 * (1 + math.cos(math.pi * 149 / 150)) / 2),
        ("skeleton_contrast", 49, 0.9, 0.01),
        ("skeleton_contrast", 50, 0.0, 0.001),
        ("skeleton_contrast", 70, 0.0, 1e-4),
        ("mamp", 0, 0.0, 0.0),
        ("mamp", 2, 0.5, 1.5e-4),
        ("mamp", 5, 0.0, 3e-4),
        ("mamp", 52, 0.5, 1.55e-4),
        ("mamp", 99, 0.999999, 1e-5),
        ("skeleton2vec", 2, 0.5, 1.5e-4),
        ("skeleton2vec", 52, 0.5, 1.55e-4),
        ("skeleton2vec", 99, 0.999999, 1e-5),
    ],
)
def test_published_rates(method: str, epoch: int, fraction: float, rate: float) -> None:
    assert FinetuneRecipe.read(published(method)).lr_at(epoch, fraction) == pytest.approx(rate, rel=1e-4)


def test_the_defaults_are_pstl() -> None:
    assert FinetuneRecipe.read(published("pstl")) == FinetuneRecipe()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_published_size_takes_a_step(method: str) -> None:
    """Two clips: every parameter that trains gets a finite gradient."""
    plan = FinetuneRecipe.read(published(method))
    model = build_classifier(full_encoder(method), 60, plan, where=WHERE)
    frames = {"pstl": 50, "skeleton_contrast": 64, "mamp": 120}[method]
    torch.manual_seed(0)
    model.train()
    logits = model(torch.randn(2, 3, frames, 25, 2))
    assert logits.shape == (2, 60)
    F.cross_entropy(logits, torch.tensor([3, 59]), label_smoothing=plan.label_smoothing).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plan.optim().build(parameter_groups(model, plan, where=WHERE)).step()
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters())


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"lrr": 1}, "lrr: found an unknown key, expected one of optimizer, lr, betas"),
        ({"optimizer": "lion"}, "optimizer: found 'lion', expected one of adam, adamw, sgd"),
        ({"head": "huge"}, "head: found 'huge', expected one of linear, large"),
        ({"lr": 0}, "lr: found 0, expected above 0"),
        ({"epochs": 1.5}, "epochs: found 1.5, expected a whole number"),
        ({"batch": 1}, "batch: found 1, expected at least 2"),
        ({"per_step": 1}, "per_step: found 1, expected true or false"),
        ({"layer_decay": 1.1}, "layer_decay: found 1.1, expected above 0 and up to 1"),
        ({"drop_path": "x"}, "drop_path: found 'x', expected a number or null"),
        ({"label_smoothing": 1}, "label_smoothing: found 1, expected at least 0 and below 1"),
        ({"betas": [0.9]}, r"betas: found \(0.9,\), expected two numbers"),
        ({"undecayed": "positions"}, "undecayed: found 'positions', expected a list of names"),
        ({"schedule": "step"}, r"milestones: found \(\), expected at least one epoch"),
        ({"warmup_epochs": 9, "epochs": 9}, "warmup_epochs: found 9, expected below 9 epochs"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(recipe: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=rf"^probe.finetune.{sentence}"):
        FinetuneRecipe.read(recipe)


def test_a_recipe_that_the_encoder_cannot_follow(runs: dict[str, Path], data_root: Path) -> None:
    frozen = frozen_of(runs["pstl"], data_root)
    for change, sentence in (
        ({"head": "large"}, "head: found large, expected linear: STGCN has no tokens"),
        ({"layer_decay": 0.8}, "layer_decay: found 0.8, expected 1: STGCN has no layer_ids"),
        ({"drop_path": 0.3}, "drop_path: found 0.3, expected null: STGCN has none"),
        ({"undecayed": ["positions"]}, "undecayed: found positions, expected parts of the encoder"),
    ):
        with pytest.raises(UserError, match=f"probe.finetune.{sentence}"):
            finetune(frozen, published("pstl", **change), seed=0)
    with pytest.raises(UserError, match="lr: found 1e\\+30, with which training diverged; expected a lower one"):
        finetune(frozen, published("pstl", lr=1e30, epochs=3), seed=0)
    frozen.rows["train"] = frozen.rows["train"][:1]
    with pytest.raises(UserError, match="finetune: found 1 labelled clips, expected at least 2"):
        finetune(frozen, published("pstl"), seed=0)


def test_joints_cannot_leave_the_large_head(runs: dict[str, Path], data_root: Path) -> None:
    frozen = frozen_of(runs["mamp"], data_root, limit=1)
    model = build_classifier(frozen.encoder, 4, FinetuneRecipe(head="large"), where=WHERE)
    clips = [frozen.data.store.gather(frozen.rows["test"])]
    with pytest.raises(UserError, match=r"encoder ignore: found \[3\], expected none under a head that takes every"):
        extract(model, frozen.views["test"], clips, device="cpu", ignore=[3])


# --- as a user runs it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_smoke(runs: dict[str, Path], data_root: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("protocol=finetune", f"checkpoint='{runs[method]}'", f"data_root='{data_root}'", "debug=smoke")
    config = compose("evaluate", *asked)
    (done,) = evaluate(config, [config["protocol"]])
    assert done.result["labels_used"] == done.result["n_train"] == 8
    assert done.result["random_init_top1"] is None  # only with baseline=true
    assert done.result["top1_best_epoch"] >= done.result["top1"]
    assert done.result["recipe"]["epochs"] == 2
    assert "finetune seed 0 epoch 2/2: loss" in capsys.readouterr().out
    (path,) = runs[method].glob("eval/finetune/*/result.json")
    logits = np.load(path.with_name("scores.npz"))["logits"]
    assert read_json(path) == done.result
    again = compose("evaluate", *asked, "rerun=true")
    evaluate(again, [again["protocol"]])
    assert np.array_equal(np.load(path.with_name("scores.npz"))["logits"], logits)
    assert {file.name for file in path.parent.iterdir()} == {"result.json", "scores.npz"}


def test_the_random_initialisation_only_where_asked_and_one_recipe_for_all(
    runs: dict[str, Path], data_root: Path
) -> None:
    place = (f"checkpoint='{runs['pstl']}'", f"data_root='{data_root}'", "debug=smoke", "mode=clean")
    config = compose("evaluate", "protocol=finetune", *place, "baseline=true")
    (done,) = evaluate(config, [config["protocol"]])
    assert 0 <= done.result["random_init_top1"] <= 1
    assert done.result["recipe"] == {**config["protocol"]["recipe"], "epochs": 2, "warmup_epochs": 1}


@pytest.mark.parametrize("method", [*METHODS, "skeleton2vec"])
@pytest.mark.parametrize("protocol", ["finetune", "semi"])
def test_every_published_recipe_and_the_common_one_can_be_read(method: str, protocol: str) -> None:
    own = OmegaConf.to_container(OmegaConf.load(config_dir() / "protocol" / f"{protocol}.yaml"))
    assert isinstance(own, dict)
    for recipe in (published(method, protocol), own["recipe"]):
        FinetuneRecipe.read({key: value for key, value in recipe.items() if key != "select"})
