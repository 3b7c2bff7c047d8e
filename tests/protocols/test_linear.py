import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.pretrained.features import Features, extract
from skelssl.protocols.linear import epoch_batches, epoch_order, head_logits, linear_head, linear_probe, train_head
from skelssl.protocols.linear_recipe import LinearRecipe
from tests.helpers.config import compose

PSTL = {"optimizer": "adam", "lr": 0.01, "epochs": 5, "batch": 8}
MAMP = {
    "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "epochs": 5, "batch": 8, "per_step": True,
    "batch_norm": True, "init": "trunc_normal_0.01",
}  # fmt: skip
CONTRAST = {
    "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "epochs": 5, "batch": 8, "schedule": "step",
    "milestones": [2, 4], "init": "normal_0.01", "weight_decay": 0.01,
}  # fmt: skip


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 16, (5, 1)), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x: Tensor, ignore: tuple[int, ...] = ()) -> Tensor:
        y: Tensor = self.body(x.flatten(3)).mean((2, 3))
        return y


class Whole(nn.Module):
    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return batch.x


def clips(n: int, seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (n,), generator=g)
    x = torch.randn(n, 3, 9, 5, 2, generator=g) + label.view(-1, 1, 1, 1, 1)
    return Batch(x, torch.full((n,), 9), label, torch.arange(n))


def draw(n: int, *, k: int = 1, d: int = 6, seed: int = 0, spread: float = 1.0) -> Features:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (n,), generator=g)
    x = spread * torch.randn(n, k, d, generator=g) + 2 * F.one_hot(label, d)[:, None]
    return Features(x, label, torch.arange(n))


def slow_way(encoder: nn.Module, data: Batch, recipe: dict[str, object], seed: int) -> nn.Sequential:
    """The references' loop: torch's own layers, optimisers and schedulers, the encoder run again in every step."""
    plan = LinearRecipe.read(recipe)
    start = linear_head(16, 3, plan, seed)[-1]
    linear = nn.Linear(16, 3)
    linear.load_state_dict(start.state_dict())
    norm = [nn.BatchNorm1d(16, affine=False, eps=1e-6)] if plan.batch_norm else []  # the default is MAMP's
    head = nn.Sequential(*norm, linear)
    if plan.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(head.parameters(), plan.lr)
    else:
        optimizer = torch.optim.SGD(head.parameters(), plan.lr, plan.momentum, weight_decay=plan.weight_decay)
    steps = math.ceil(len(data) / plan.batch)
    if plan.schedule == "step":
        scheduler: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], 0.1)
    else:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * steps if plan.per_step else 5)
    encoder.eval()
    for epoch in range(5):
        for rows in epoch_order(len(data), seed, epoch).split(plan.batch):
            loss = F.cross_entropy(head(encoder(data.x[rows]).detach()), data.label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if plan.per_step:
                scheduler.step()
        if not plan.per_step:
            scheduler.step()
    return head


@pytest.mark.parametrize("recipe", [PSTL, MAMP, CONTRAST], ids=["pstl", "mamp", "contrast"])
def test_cached_features_give_the_weights_of_the_slow_way(recipe: dict[str, object]) -> None:
    """Equal to 1e-6: a convolution may round its last bits by the size of the batch it runs in."""
    torch.manual_seed(0)
    encoder, data = Encoder(), clips(37, seed=1)
    want = slow_way(encoder, data, recipe, seed=3)
    plan = LinearRecipe.read(recipe)
    head = linear_head(16, 3, plan, seed=3)
    drawn = head[-1].weight.clone()
    cached = extract(encoder, Whole(), [data], device="cpu")
    for _ in train_head(head, cached, plan, seed=3):
        head_logits(head, cached)  # a look in between leaves no trace
    assert (head[-1].weight - drawn).abs().max() > 0.02
    torch.testing.assert_close(dict(head.state_dict()), dict(want.state_dict()), rtol=0, atol=1e-6)


def test_scores_are_the_last_epochs_and_the_best_is_told_apart() -> None:
    recipe = {"epochs": 6, "lr": 0.5, "schedule": "constant", "batch": 4}
    train, test = draw(24, spread=3), draw(40, seed=1, spread=3)
    found = linear_probe(train, test, classes=3, recipe=recipe, seed=0)
    plan = LinearRecipe.read(recipe)
    head = linear_head(6, 3, plan, 0)
    top1 = [
        float((head_logits(head, test).argmax(1) == test.label).double().mean())
        for _ in train_head(head, train, plan, 0)
    ]
    assert len(set(top1)) > 1
    assert found.top1 == pytest.approx(top1[-1])
    assert found.best_epoch_top1 == pytest.approx(max(top1))
    assert max(top1) > top1[-1]
    assert torch.equal(found.logits, head_logits(head, test))
    assert torch.equal(found.index, test.index)


def test_the_test_set_has_no_part_in_training() -> None:
    train, test, other = draw(24), draw(10, seed=1), draw(10, seed=2)
    both = Features(*(torch.cat([getattr(f, a) for f in (test, other)]) for a in ("x", "label", "index")))
    alone = linear_probe(train, test, classes=3, recipe=MAMP, seed=0)
    joint = linear_probe(train, both, classes=3, recipe=MAMP, seed=0)
    torch.testing.assert_close(joint.logits[:10], alone.logits)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_clips_are_rows_in_training_and_a_mean_of_logits_in_the_test(batch_norm: bool) -> None:
    recipe = PSTL | {"batch_norm": batch_norm}
    train, test = draw(12, k=3), draw(9, k=4, seed=1)
    flat = Features(train.x.view(36, 1, 6), train.label.repeat_interleave(3), torch.arange(36))
    found = linear_probe(train, test, classes=3, recipe=recipe, seed=0)
    clip = [Features(test.x[:, k : k + 1], test.label, test.index) for k in range(4)]
    each = torch.stack([linear_probe(flat, c, classes=3, recipe=recipe, seed=0).logits for c in clip])
    torch.testing.assert_close(found.logits, each.mean(0), rtol=0, atol=1e-5)


def test_it_learns_what_can_be_learnt() -> None:
    found = linear_probe(draw(120), draw(200, seed=1), classes=3, recipe=PSTL | {"epochs": 30}, seed=0)
    assert found.top1 > 0.8
    assert found.logits.dtype == torch.float32


def test_everything_comes_from_the_seed_and_the_global_state_is_left_alone() -> None:
    train, test = draw(24), draw(10, seed=1)
    state = torch.get_rng_state()
    runs = [linear_probe(train, test, classes=3, recipe=PSTL, seed=s).logits for s in (4, 4, 5)]
    assert torch.equal(torch.get_rng_state(), state)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(linear_probe(train, test, classes=3, recipe=PSTL, seed=4).logits, runs[0])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_weights_do_not_depend_on_the_number_of_threads() -> None:
    train, plan, before, weights = (
        draw(512, d=128),
        LinearRecipe.read(PSTL | {"batch": 256}),
        torch.get_num_threads(),
        [],
    )
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            head = linear_head(128, 3, plan, 0)
            assert list(train_head(head, train, plan, 0)) == [0, 1, 2, 3, 4]
            assert torch.get_num_threads() == threads
            weights.append(head[-1].weight)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("init", "std"),
    [("xavier_normal", (2 / 460) ** 0.5), ("normal_0.01", 0.01), ("trunc_normal_0.01", 0.01), ("default", 1200**-0.5)],
)
def test_initial_weights(init: str, std: float) -> None:
    linear = linear_head(400, 60, LinearRecipe.read({"init": init}), 0)[0]
    assert linear.weight.std().item() == pytest.approx(std, rel=0.02)
    assert linear.weight.mean().abs() < std / 50
    assert bool((linear.bias == 0).all()) == (init != "default")
    assert linear.bias.abs().max() <= 400**-0.5


def test_parameters_of_a_head() -> None:
    """256 x 60 + 60, and MAMP's BatchNorm adds none."""
    for batch_norm in (False, True):
        head = linear_head(256, 60, LinearRecipe.read({"batch_norm": batch_norm}), 0)
        assert sum(p.numel() for p in head.parameters()) == 15_420


@pytest.mark.parametrize(("method", "eps"), [("mamp", 1e-6), ("skeleton2vec", 1e-5)])
def test_the_published_batch_norm(method: str, eps: float) -> None:
    """MAMP's script says 1e-6, Skeleton2vec's nothing, which is torch's 1e-5; neither has an affine part."""
    plan = LinearRecipe.read(compose("train", f"method={method}")["method"]["probe"]["linear"])
    norm, _ = linear_head(16, 3, plan, 0)
    assert (norm.eps, norm.affine, norm.momentum) == (eps, False, 0.1)


def test_epoch_order_is_a_permutation_of_its_own_for_each_epoch_and_seed() -> None:
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(order.sort().values.tolist() == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 6
    assert torch.equal(epoch_order(50, 1, 2), orders[-1])


@pytest.mark.parametrize(
    ("n", "recipe", "sizes"),
    [
        (9, {"batch": 4}, [4, 4, 1]),
        (9, {"batch": 4, "drop_last": True}, [4, 4]),
        (8, {"batch": 4, "drop_last": True}, [4, 4]),
        (3, {"batch": 4, "drop_last": True}, [3]),
        (9, {"batch": 4, "batch_norm": True}, [4, 5]),
        (10, {"batch": 4, "batch_norm": True}, [4, 4, 2]),
    ],
)
def test_steps_of_an_epoch(n: int, recipe: dict[str, object], sizes: list[int]) -> None:
    batches = epoch_batches(torch.arange(n), LinearRecipe.read(recipe))
    assert [len(b) for b in batches] == sizes
    assert torch.cat(batches).tolist() == list(range(sum(sizes)))


def test_divergence_is_said() -> None:
    with pytest.raises(UserError, match=r"probe\.linear\.lr: found 1e\+38, with which the probe diverged"):
        linear_probe(draw(24), draw(5), classes=3, recipe=CONTRAST | {"lr": 1e38}, seed=0)
