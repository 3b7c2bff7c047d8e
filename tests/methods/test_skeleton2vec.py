"""Skeleton2vec as a method: its step, teacher, groups and rates, ranks against one process, and that it learns.

The numbers are those of the checklist of properties that a port of the method must have, and where each is tested:

* masks: 1-8 tests/maskers/test_tokens.py; 9 there and here;
* encoder and decoder: 10, 12, 14 tests/encoders/{test_transformer,test_decoder}.py; 11 and 13 there and here;
* targets and loss: 15-17 tests/losses/test_contextual.py; 18-21 here, the absent persons of 19 in test_contextual.py;
* teacher: 22-24 here and in tests/test_momentum.py; 25 test_skeleton2vec_runs.py;
* optimiser: 26 and the rates of 27 here, those of a fine-tuning in tests/protocols/test_finetune.py; 28 here and in
  test_skeleton2vec_runs.py (a fine-tuning has no clipping at all);
* ranks: 29 here; 30 tests/protocols/test_subsets.py; 31 tests/pretrained/test_features.py (`merge` counts every clip
  once);
* downstream: 32, 33, 34 test_skeleton2vec_runs.py; 35 tests/views/test_uniform.py;
  36 tests/data/recipes/test_pyskl.py;
* collapse: 37 tests/losses/test_collapse.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.collapse import Alarm
from skelssl.losses.contextual import ContextualPrediction
from skelssl.maskers.motion_tube import MotionTubeMask
from skelssl.methods.build import build_method
from skelssl.methods.skeleton2vec import Skeleton2vec
from skelssl.momentum import Schedule
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.config import compose
from tests.helpers.ranks import run_ranks

ADAMW = {"name": "adamw", "lr": 1e-3, "epochs": 800, "weight_decay": 0.05, "betas": [0.9, 0.95], "clip": 4.0}
SIZES: dict[str, Any] = {"hidden": 16, "heads": 2, "layer_scale": 0.1, "norm_eps": 1e-6, "init": "normal"}


class AsIs(nn.Module):
    """The clips of the batch themselves."""

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        return batch.x


def clips(n: int, frames: int = 18) -> Batch:
    x = torch.randn(n, 3, frames, 25, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    x = x.cumsum(2) / 5
    x[1::2, ..., 1] = 0
    zeros = torch.zeros(n, dtype=torch.int64)
    return Batch(x, zeros + frames, zeros, torch.arange(n))


def swaying(n: int, frames: int = 18) -> Batch:
    """Bodies that sway as a whole, each in its own direction and time: the few visible joints tell of the others."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    phase, t = torch.arange(n).view(n, 1, 1, 1, 1), torch.arange(frames).view(1, 1, frames, 1, 1)
    x = draw(1, 3, 1, 25, 1) + 2 * draw(n, 3, 1, 1, 1) * torch.sin(0.3 * t + phase)
    x = x.repeat(1, 1, 1, 1, 2)
    x[1::2, ..., 1] = 0
    zeros = torch.zeros(n, dtype=torch.int64)
    return Batch(x, zeros + frames, zeros, torch.arange(n))


def build(
    masking: Any = None, drop_path: float = 0.0, masks: int = 1, start: float = 0.9999, hidden: int = 16, **loss: Any
) -> Any:
    torch.manual_seed(0)
    widths = {**SIZES, "hidden": hidden}
    method = Skeleton2vec(
        view={"pretrain": AsIs(), "test": AsIs()},
        encoder=Transformer(frames=18, patch=3, depth=2, drop_path=drop_path, **widths),
        masking=masking or MotionTubeMask(frames=18, tube=3),
        decoder=partial(Decoder, depth=1, **widths),
        loss=ContextualPrediction(**{"blocks": 2, **loss}),
        teacher=Schedule(start=start, end=1.0, epochs=800),
        collapse=Alarm(),
        optim=ADAMW,
        seed=0,
        masks=masks,
    )
    method._step = 0
    return method.double()


@pytest.fixture(scope="module")
def published() -> Any:
    return build_method(compose("train", "method=skeleton2vec"))


# --- the published setting


def test_sizes(published: Any) -> None:
    trained = [p for p in published.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == 8_856_576
    assert sum(p.numel() for p in published.encoder.parameters()) == 6_339_328
    assert published.masking.visible_joints * published.masking.segments == 60
    assert published.loss.blocks == len(published.student.blocks) == 8


def test_the_published_step_runs_at_full_size(published: Any) -> None:
    """Initial loss 1 + 256·0.02² = 1.10: targets have unit variance, the head starts at 0.02 (20)."""
    batch = clips(2, frames=120)
    published._step = 0
    loss = published.training_step(Batch(batch.x.float(), batch.frames, batch.label, batch.index), 0)
    loss.backward()
    assert loss.item() == pytest.approx(1.10, abs=0.03)
    trained = [p for p in published.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad is None for p in published.teacher.parameters())
    published.zero_grad()
    published.means.sums = {}


def test_what_is_decayed(published: Any) -> None:
    """26: neither vectors, LayerScale among them, nor the four position embeddings; the mask token is."""
    groups = published.configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert (groups[0]["betas"], groups[0]["eps"]) == ((0.9, 0.95), 1e-8)
    names = {id(p): name for name, p in published.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in groups)
    positions = {f"{part}.positions.{axis}" for part in ("student", "decoder") for axis in ("time", "space")}
    assert decayed | spared == {name for name, p in published.named_parameters() if p.requires_grad}
    assert positions <= spared
    assert spared - positions == {n for n, p in published.named_parameters() if p.requires_grad and p.ndim == 1}
    assert {"decoder.mask_token", "student.patch_embed.weight"} <= decayed
    assert not any(name.startswith("teacher") for name in decayed | spared)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 0.0), (1, 5.0e-5), (10, 5.0e-4), (20, 1.0e-3), (100, 9.745e-4), (200, 8.755e-4), (400, 5.249e-4),
     (600, 1.621e-4), (800, 1.0e-5)],
)  # fmt: skip
def test_learning_rate(published: Any, epoch: float, rate: float) -> None:
    """27."""
    assert published.optim.rate(epoch) == pytest.approx(rate, rel=1e-3)
    assert (published.optim.interval, published.optim.last_epoch) == ("step", 600)


def test_layers_of_fine_tuning(published: Any) -> None:
    """27: tokens 0, block i i + 1, last norm 8, head 9."""
    ids = published.encoder.layer_ids()
    assert ids["patch_embed.weight"] == ids["positions.space"] == 0
    assert [ids[f"blocks.{i}.gamma1"] for i in range(8)] == list(range(1, 9))
    assert ids["norm.weight"] == 8
    assert 0.8 ** (9 - ids["norm.weight"]) == pytest.approx(0.8)


def test_momentum_over_the_epochs_of_the_schedule(published: Any) -> None:
    """23: NTU-60 X-Sub has 314 steps an epoch, 251,200 in all."""
    momentum = partial(published.schedule.momentum, per_epoch=314)
    assert momentum(0) == 0.9999
    assert momentum(125_600) == pytest.approx(0.99995, abs=1e-12)
    assert momentum(600 * 314) == pytest.approx(0.999975, abs=1e-12)
    assert momentum(251_200) == momentum(300_000) == 1.0


def test_the_gradient_is_clipped_at_4() -> None:
    """28."""
    method = build()
    optimizer, trained = method.configure_optimizers(), [p for p in method.parameters() if p.requires_grad]
    for p in trained:
        p.grad = torch.full_like(p, 2.0)
    method.configure_gradient_clipping(optimizer)
    norm = torch.stack([p.grad.double().square().sum() for p in trained]).sum().sqrt()
    assert float(norm) == pytest.approx(4.0, rel=1e-5)
    assert optimizer.defaults["fused"]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("ntu60_xsub", {}),
        ("ntu60_xview", {"align_spine": True}),
        ("ntu120_xsub", {"beta": 0.2}),
        ("ntu120_xset", {"beta": 0.2, "eps": 1e-6}),
        ("pku1_xsub", {"epochs": 1600, "stop_epoch": 1000, "batch": 128, "lr": 0.01}),
        ("pku1_xview", {"epochs": 1600, "stop_epoch": 1000, "batch": 128, "lr": 0.01}),
        ("pku2_xsub", {"batch": 32, "lr": 0.01}),
        ("pku2_xview", {"batch": 32, "lr": 0.01}),
    ],
)
def test_presets(dataset: str, expected: dict[str, Any]) -> None:
    usual = {"align_spine": False, "beta": 0.1, "eps": 1e-8, "epochs": 800, "stop_epoch": 600, "batch": 256, "lr": 0.1}
    config = compose("train", "method=skeleton2vec", f"dataset={dataset}")
    method = config["method"]
    optim, linear = build_method({**config, "method": small(method)}).optim, method["probe"]["linear"]
    found = {
        "align_spine": method["recipe"]["align_spine"], "beta": method["masking"]["beta"], "eps": optim.eps,
        "epochs": optim.epochs, "stop_epoch": optim.stop_epoch, "batch": linear["batch"], "lr": linear["lr"],
    }  # fmt: skip
    assert found == {**usual, **expected}
    assert method["teacher"]["epochs"] == optim.epochs
    assert (optim.lr, optim.min_lr, linear["epochs"], linear["passes"]) == (1e-3, 1e-5, 100, 100)


def small(method: dict[str, Any]) -> dict[str, Any]:
    """The same block with narrow networks, which build faster."""
    return {**method, **{part: {**method[part], "hidden": 16, "heads": 2} for part in ("encoder", "decoder")}}


# --- the step


def test_the_step_is_the_parts_in_order() -> None:
    method, batch = build(), clips(2)
    mask = method.masking(batch.x, method.generator(0))
    tokens = method.student.encode(method.student.embed(batch.x, mask.visible))
    target = method.loss.targets(method.teacher.module, batch.x)
    expected = (method.decoder(tokens, mask.visible, mask.hidden) - target.at(mask.hidden)).square().mean()
    torch.testing.assert_close(method.training_step(batch, 0), expected)
    assert method.encoder is method.encoders()[""] is method.teacher.module
    assert method.encoders()["student"] is method.student


def test_masks_are_each_ranks_and_each_steps_own() -> None:
    """9: reproducible, different across ranks."""
    method, x = build(), clips(2).x
    first, again, other = (method.masking(x, method.generator(r)).visible for r in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    method._step = 1
    assert not torch.equal(method.masking(x, method.generator(0)).visible, first)


def test_the_student_sees_nothing_of_what_is_hidden() -> None:
    """11: exactly the visible tokens, and no other coordinate."""
    method, batch, seen = build(), clips(2), []
    mask = method.masking(batch.x, method.generator(0))
    method.student.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    spoilt = batch.x.clone()
    for person, tokens in enumerate(mask.hidden):
        for s, v in zip((tokens // 25).tolist(), (tokens % 25).tolist(), strict=True):
            spoilt[person // 2, :, 3 * s : 3 * s + 3, v, person % 2] += 7.0
    outputs = [method.student.encode(method.student.embed(x, mask.visible)) for x in (batch.x, spoilt)]
    assert torch.equal(*outputs)
    assert seen[0].shape == (4, 6 * 2, 16)


def test_persons_of_a_clip_are_independent() -> None:
    """13: swapping them swaps targets."""
    method, x = build(), clips(2).x
    index = torch.arange(150).expand(4, -1)
    one, other = (method.loss.targets(method.encoder, y).at(index) for y in (x, x.flip(4)))
    torch.testing.assert_close(one[[1, 0, 3, 2]], other)


def test_predictions_of_visible_tokens_do_not_count() -> None:
    """20: what the decoder makes of visible places reaches neither the loss nor the head."""
    method, batch = build(), clips(2)
    mask = method.masking(batch.x, method.generator(0))
    states = method.decoder.states

    def spoilt(tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        return states(tokens, visible, hidden).scatter(1, mask.visible[:, :, None].expand(-1, -1, 16), 9.0)

    plain = method.training_step(batch, 0)
    method.decoder.states = spoilt
    assert torch.equal(method.training_step(batch, 0), plain)


def test_several_masks_share_one_teacher_pass() -> None:
    """The loss of K masks is that of the clip given K times, with one teacher pass for all of them."""
    batch, masks = clips(2), 3
    noise = torch.rand(2 * masks * 2, 2, 25, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    masking = partial(MotionTubeMask(frames=18, tube=3), noise=noise)
    several, passes = build(masking, masks=masks), []
    several.encoder.blocks[0].register_forward_pre_hook(lambda _, args: passes.append(len(args[0])))
    repeated = Batch(*(getattr(batch, key).repeat_interleave(masks, 0) for key in ("x", "frames", "label", "index")))
    torch.testing.assert_close(several.training_step(batch, 0), build(masking).training_step(repeated, 0))
    assert passes == [4]  # three persons, and one who is absent


@pytest.mark.parametrize("flat", [False, True])
def test_unshuffle_is_a_choice(flat: bool) -> None:
    method = build()
    correct = method.training_step(clips(2), 0)
    method.decoder.unshuffle = "flat" if flat else "correct"
    assert torch.equal(method.training_step(clips(2), 0), correct) is not flat


def test_its_masks_can_be_shown() -> None:
    method = build()
    motion_aware, plain, motion = method.visualize(clips(1, frames=40).x, torch.Generator().manual_seed(0))
    for shown in (motion_aware, plain):
        assert shown.clip.shape == (1, 3, 18, 25, 2)
        assert shown.tokens.sum((1, 2)).tolist() == [6 * 23] * 2
        assert torch.equal(shown.tokens[:, 0], shown.tokens[:, 2])  # one tube
    assert motion.tokens.shape == (2, 6, 25)
    assert torch.equal(motion.tokens[:, 3], motion.tokens[:, 5])
    assert not torch.equal(motion.tokens[:, 0], motion.tokens[:, 3])


# --- the teacher


def test_the_teacher_starts_as_the_student_and_takes_no_gradient() -> None:
    """18, 22."""
    method = build(drop_path=0.9)
    pairs = list(zip(method.teacher.module.parameters(), method.student.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    method.training_step(clips(2), 0).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    method.train()
    assert method.student.training
    assert not any(module.training for module in method.teacher.modules())
    assert method.teacher.gap(method.student) == 0


def test_the_teacher_after_one_step() -> None:
    """22: τ0·old + (1 - τ0)·new, in float32 even of a bfloat16 student (24)."""
    method = build().float()
    old = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1.0)
    method.teacher.update(method.student, method.schedule.momentum(0, 314))
    for before, after, new in zip(old, method.teacher.parameters(), method.student.parameters(), strict=True):
        torch.testing.assert_close(after, 0.9999 * before + 0.0001 * new, rtol=1e-6, atol=1e-8)
        assert after.dtype == torch.float32
    after = [p.clone() for p in method.teacher.parameters()]
    method.teacher.update(method.student, method.schedule.momentum(800 * 314, 314))
    assert all(torch.equal(a, b) for a, b in zip(after, method.teacher.parameters(), strict=True))


def test_targets_do_not_depend_on_the_mask() -> None:
    """19."""
    method, batch, seen = build(), clips(2), []
    method.loss.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    targets = [method.loss.targets(method.encoder, batch.x).value for _ in range(2)]
    for step in (0, 1):
        method._step = step
        method.training_step(batch, step)
    assert torch.equal(*targets)
    assert not torch.equal(*seen)  # other tokens are hidden


# --- ranks


def train_steps(steps: int) -> dict[str, Any]:
    """Losses, last gradients and the teacher after some steps on this rank's share of six clips with injected masks."""
    world, r, batch = world_size(), rank(), clips(6)
    rows = slice(r * 6 // world, (r + 1) * 6 // world)
    persons = slice(2 * rows.start, 2 * rows.stop)
    method = build(start=0.9)
    mine = Batch(*(getattr(batch, key)[rows] for key in ("x", "frames", "label", "index")))

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([method.student, method.decoder])

        def forward(self, batch: Batch) -> Tensor:
            return method.training_step(batch, 0)

    step = Step()
    model = DistributedDataParallel(step) if world > 1 else step
    optimiser = torch.optim.AdamW(method.parameter_groups(), lr=1e-2)
    losses = []
    for n in range(steps):
        noise = torch.rand(12, 2, 25, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        method.masking = partial(MotionTubeMask(frames=18, tube=3), noise=noise[persons])
        loss = model(mine)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.teacher.update(method.student, method.schedule.momentum(n, 1))
        losses.append(loss.item())
    figures = {name: float(value) / len(mine) for name, value in method.means.sums.items() if name != "loss"}
    return {"losses": losses, "grads": {name: p.grad for name, p in step.named_parameters()},
            "teacher": method.teacher.state_dict(), "figures": figures}  # fmt: skip


def test_two_ranks_equal_one() -> None:
    """29: loss, gradients, teacher and figures; the teachers of both ranks bit for bit."""
    steps = 10
    one, two = train_steps(steps), run_ranks(train_steps, 2, steps)
    means = [sum(pair) / 2 for pair in zip(*(result["losses"] for result in two), strict=True)]
    assert means == pytest.approx(one["losses"], rel=1e-9)
    for result in two:
        assert result["figures"] == pytest.approx(one["figures"], rel=1e-6)
        for key in ("grads", "teacher"):
            for name, value in one[key].items():
                torch.testing.assert_close(result[key][name], value, rtol=1e-7, atol=1e-10)
    assert all(torch.equal(value, two[1]["teacher"][name]) for name, value in two[0]["teacher"].items())
    assert int(one["teacher"]["updates"]) == steps


# --- learning


def test_it_learns_a_few_clips_without_collapse() -> None:
    """21: below 0.3 of the first loss, while predictions stay alive."""
    method, batch, losses = build(hidden=32).float(), swaying(8), []
    optimiser = torch.optim.AdamW(method.parameter_groups(), lr=5e-3)
    for step in range(240):
        method._step, method.means.sums = step, {}
        loss = method.training_step(batch, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.teacher.update(method.student, 0.9999)
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.3 * losses[0]
    figures = {name: float(value) / 8 for name, value in method.means.sums.items()}
    assert figures["prediction_std"] > 0.1
    assert figures["prediction_skill"] > 0.3  # it knows the clip, not only the place
    assert figures["target_std"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("build_wrong", "message"),
    [
        (lambda: build(masks=0), r"method\.masks: found 0, expected a whole number of at least 1"),
        (lambda: build(start=1.5), r"teacher\.start: found 1\.5, expected a number from 0 to 1"),
        (
            lambda: Schedule(start=0.9, end=1.0, epochs=0),
            r"teacher\.epochs: found 0, expected at least 1",
        ),
        (lambda: build(blocks=3), r"method\.loss\.blocks: found 3, expected 1 to encoder\.depth = 2"),
        (lambda: build(blocks=0), r"method\.loss\.blocks: found 0, expected 1 to"),
    ],
)
def test_mistakes_name_the_key(build_wrong: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_wrong()


@pytest.mark.parametrize("method", ["mamp", "skeleton2vec"])
def test_flat_is_refused_at_once_where_masks_are_no_tubes(method: str) -> None:
    options = ["method.masking._target_=skelssl.maskers.tokens.RandomMask", "+method.decoder.unshuffle=flat"]
    options += ["~method.masking.tau"] if method == "mamp" else ["~method.masking.tube", "~method.masking.beta"]
    config = compose(
        "train", f"method={method}", "debug=smoke", *(o.lstrip("+") if "2" in method else o for o in options)
    )
    with pytest.raises(
        InstantiationException, match=r"decoder\.unshuffle: found flat with RandomMask, expected correct"
    ):
        build_method(config)


def test_a_coordinate_that_is_no_number_reaches_the_loss() -> None:
    """Which ends the run: maskers look at coordinates on the CPU alone."""
    method, batch = build(), clips(2)
    mask = method.masking(batch.x, method.generator(0))
    method.masking = lambda x, generator: mask
    for tokens in (mask.visible, mask.hidden):
        segment, joint = divmod(int(tokens[0, 0]), 25)
        spoilt = batch.x.clone()
        spoilt[0, 1, 3 * segment, joint, 0] = torch.nan
        batch = Batch(spoilt, batch.frames, batch.label, batch.index)
        assert method.training_step(batch, 0).isnan()
        batch = clips(2)
