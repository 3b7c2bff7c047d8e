"""Skeleton-contrast: its two losses, queues, key networks, ranks and mistakes, on small networks."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.gru import GRU
from skelssl.encoders.hcn import HCN
from skelssl.heads import ContrastHead
from skelssl.losses.info_nce import InfoNCE
from skelssl.methods.skeleton_contrast import SkeletonContrast
from skelssl.momentum import Queue
from skelssl.runtime.batch_norm import sync_batch_norms
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.ranks import run_ranks

ENCODERS = {"seq": partial(GRU, hidden=4, layers=2), "graph": partial(AGCN, hidden=4), "image": partial(HCN, hidden=4)}
PAIRS = [("seq", "graph"), ("seq", "image"), ("graph", "image")]


class Stored(nn.Module):
    """The two views of a batch that lie in it: the first half of the frames, then the second."""

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        half = batch.x.shape[2] // 2
        self.calls = getattr(self, "calls", 0) + 1
        return batch.x[:, :, :half] if self.calls % 2 else batch.x[:, :, half:]


def clips(n: int = 8, frames: int = 128, seed: int = 0) -> Batch:
    x = torch.randn(n, 3, frames, 25, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    index = torch.arange(n)
    return Batch(x, torch.full((n,), frames), index, index)


def rows(batch: Batch, part: slice) -> Batch:
    return Batch(batch.x[part], batch.frames[part], batch.label[part], batch.index[part])


def build(pair: tuple[str, ...] = ("seq", "graph"), size: int = 20, **options: Any) -> SkeletonContrast:
    view = Stored()
    torch.manual_seed(0)
    method = SkeletonContrast(
        mode="inter" if len(pair) == 2 else "intra", pair=pair, view={"pretrain": view, "test": view},
        head=partial(ContrastHead, dim=6), loss=InfoNCE(), queue=partial(Queue, size), seed=3,
        **{"encoder": ENCODERS, "teacher": {"momentum": 0.9}, "optim": {"name": "sgd", "lr": 0.05, "epochs": 1}}
        | options,
    ).double()  # fmt: skip
    method._step = 0
    return method


def step(method: SkeletonContrast, batch: Batch, optimizer: torch.optim.Optimizer) -> Tensor:
    """Lightning's order: loss, zeroed gradients, backward, hook, optimiser; gradients are averaged over the ranks."""
    loss = method.training_step(batch, 0)
    optimizer.zero_grad()
    loss.backward()
    method.on_after_backward()
    for group in optimizer.param_groups:
        for p in group["params"]:
            if world_size() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world_size()
    optimizer.step()
    return loss.detach()


def branch(method: SkeletonContrast, name: str, x: Tensor, role: str = "query") -> Tensor:
    module = getattr(method, role)[name]
    out: Tensor = module(x)
    return out.detach()


def nce(query: Tensor, key: Tensor, negatives: Tensor) -> Tensor:
    own = ((query * key).sum(1) / 0.07).exp()
    return (own / (own + (query @ negatives.T / 0.07).exp().sum(1))).log().neg().mean()


@pytest.mark.parametrize("pair", PAIRS)
def test_inter_has_exactly_two_terms_each_across(pair: tuple[str, str]) -> None:
    method = build(pair, teacher={"momentum": 1.0}).eval()  # momentum 1: keys of the networks as they started
    batch = clips()
    first, second = batch.x[:, :, :64], batch.x[:, :, 64:]
    a, b = pair
    q, r = branch(method, a, first), branch(method, b, first)
    k, l_ = branch(method, a, second, "key"), branch(method, b, second, "key")
    expected = [nce(q, l_, method.queue[b].keys), nce(r, k, method.queue[a].keys)]
    loss = method.training_step(batch, 0)
    torch.testing.assert_close(loss.detach(), sum(expected))
    found = {name: float(value) / 8 for name, value in method.means.sums.items()}
    assert {name for name in found if name.endswith("_loss")} == {f"{a}_loss", f"{b}_loss"}
    assert [found[f"{a}_loss"], found[f"{b}_loss"]] == pytest.approx([float(e) for e in expected])


@pytest.mark.parametrize("name", ["seq", "graph", "image"])
def test_intra_is_moco_on_one_representation(name: str) -> None:
    method = build((name,), teacher={"momentum": 1.0}).eval()
    batch = clips()
    query, key = branch(method, name, batch.x[:, :, :64]), branch(method, name, batch.x[:, :, 64:], "key")
    expected = nce(query, key, method.queue[name].keys)
    torch.testing.assert_close(method.training_step(batch, 0).detach(), expected)
    assert list(method.queue) == list(method.key) == [name]
    assert method.encoders().keys() == {"", name}


def test_every_trained_parameter_has_a_gradient_and_no_other() -> None:
    method = build().train()
    method.training_step(clips(), 0).backward()
    for name, parameter in method.named_parameters():
        assert parameter.requires_grad == name.startswith("query."), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert all(p.grad.isfinite().all() and p.grad.any() for p in method.query.parameters() if p.ndim > 1)


def test_the_queue_holds_the_keys_of_the_steps_in_order_and_wraps_round() -> None:
    """P2, with a size that no batch divides; a key is never among the negatives of its own step."""
    method = build(size=20).train()
    optimizer = torch.optim.SGD(method.query.parameters(), 0.05)
    ring = {name: queue.keys.clone() for name, queue in method.queue.items()}
    for number in range(3):
        before = {name: queue.keys.clone() for name, queue in method.queue.items()}
        batch, keys = clips(seed=number), {}
        loss = method.training_step(batch, 0)
        keys = dict(method.fresh)
        assert all(torch.equal(method.queue[name].keys, before[name]) for name in before)  # until after backward
        optimizer.zero_grad()
        loss.backward()
        method.on_after_backward()
        optimizer.step()
        for name, fresh in keys.items():
            assert not fresh.requires_grad
            ring[name][torch.arange(8 * number, 8 * number + 8) % 20] = fresh
    assert all(torch.equal(method.queue[name].keys, ring[name]) for name in ring)
    assert [int(queue.pointer) for queue in method.queue.values()] == [4, 4]
    norms = torch.cat([queue.keys for queue in method.queue.values()]).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)


def test_the_key_networks_follow_the_queries_of_before_the_step() -> None:
    """P3 and P4: parameters are averaged before the keys are made, batch-norm statistics are not."""
    method = build().train()
    batch = clips()
    query, key = copy.deepcopy(method.query), copy.deepcopy(method.key)
    for parameter in (*method.query.parameters(), *query.parameters()):
        parameter.data += 0.01  # else the average of equal weights would prove nothing
    loss = method.training_step(batch, 0)
    for name in method.pair:
        averaged = dict(method.key[name].module.named_parameters())
        for path, start in key[name].module.named_parameters():
            expected = 0.9 * start + 0.1 * dict(query[name].named_parameters())[path]
            torch.testing.assert_close(averaged[path], expected.detach())
        made = copy.deepcopy(key[name])
        made.module.load_state_dict({**made.module.state_dict(), **averaged})
        torch.testing.assert_close(method.fresh[name], made(batch.x[:, :, 64:]))
        for path, statistic in made.module.named_buffers():  # of its own clips alone
            torch.testing.assert_close(dict(method.key[name].module.named_buffers())[path], statistic, msg=path)
    loss.backward()
    frozen = {path: p.clone() for path, p in method.key.named_parameters()}
    torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1).step()
    assert all(torch.equal(p, frozen[path]) for path, p in method.key.named_parameters())


def test_key_networks_start_as_copies_and_queues_differ() -> None:
    method = build(("graph", "image"))
    for name in method.pair:
        for a, b in zip(method.query[name].parameters(), method.key[name].module.parameters(), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(method.queue["graph"].keys, method.queue["image"].keys)
    assert torch.equal(method.queue["graph"].keys, build(("seq", "graph")).queue["graph"].keys)


def test_each_network_starts_as_its_seed_alone_draws_it() -> None:
    method = build(("seq", "graph"))
    for name in method.pair:
        torch.manual_seed(3)
        alone = ENCODERS[name]().double().state_dict()
        found = method.query[name].encoder.state_dict()
        assert all(torch.equal(found[key], alone[key]) for key in alone)
    assert method.encoder is method.encoders()[""] is method.encoders()["seq"]


def test_a_truly_bidirectional_sequence_network_is_named_in_every_result_of_its_run() -> None:
    both = {**ENCODERS, "seq": partial(ENCODERS["seq"], direction="bidirectional")}
    settings = {name: [build(("seq", "graph"), encoder=encoder).query[name].encoder.setting
                       for encoder in (ENCODERS, both)] for name in ("seq", "graph")}  # fmt: skip
    assert settings == {"seq": [None, "seq+graph, seq, bidirectional"],
                        "graph": ["seq+graph, graph", "seq+graph, graph, bidirectional"]}  # fmt: skip
    assert build(("graph",), encoder=both).encoder.setting == "intra graph"


def test_heads_start_as_the_encoders_own_last_layers() -> None:
    """3.4: Xavier for sequence and image, variance 2 / 128 for the graph; the image's bias is zero."""
    torch.manual_seed(0)
    seq, graph, image = (ContrastHead(in_dim=64, last=last).fc[-1] for last in ("xavier", "normal", "xavier_zero"))
    bound = (6 / (64 + 128)) ** 0.5
    for linear in (seq, image):
        assert bound * 0.99 < float(linear.weight.detach().abs().max()) <= bound
    assert float(graph.weight.detach().std()) == pytest.approx((2 / 128) ** 0.5, rel=0.03)
    assert not image.bias.any()
    assert 0 < float(seq.bias.detach().abs().max()) <= 1 / 8
    assert [type(layer) for layer in ContrastHead(in_dim=4, mlp=False).fc] == [nn.Linear]


@pytest.mark.parametrize(("width", "expected"), [(2048, 4_458_624), (256, 98_688), (4096, 17_305_728)])
def test_size_of_the_heads(width: int, expected: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ContrastHead(in_dim=width).parameters()) == expected


def two_steps(parts: int) -> dict[str, Tensor]:
    """State after two steps on the clips of this rank, the loss of the last and its gradients."""
    method = build(size=18).train()
    sync_batch_norms(method)
    optimizer = torch.optim.SGD(method.query.parameters(), 0.05, momentum=0.9)
    size = 8 // parts
    mine = slice(rank() * size, (rank() + 1) * size)
    for number in range(2):
        loss = step(method, rows(clips(frames=16, seed=number), mine), optimizer)
    if world_size() > 1:
        dist.all_reduce(loss)
    gradients = {f"gradient {name}": p.grad for name, p in method.query.named_parameters()}
    return {**method.state_dict(), **gradients, "loss": loss / world_size()}


def test_two_ranks_of_four_equal_one_process_of_eight() -> None:
    """P5: loss, gradients, queues, key networks, batch-norm statistics, after two steps."""
    one = two_steps(1)
    for result in run_ranks(two_steps, 2, 2):
        assert result.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(result[name], value, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("mode", "pair", "sentence"),
    [
        ("both", ["seq"], "method.mode: found 'both', expected inter or intra"),
        ("intra", ["seq", "graph"], r"method\.pair: found \['seq', 'graph'\], expected one of seq, graph, image"),
        ("inter", ["seq", "seq"], r"found \['seq', 'seq'\], expected two different ones of seq, graph, image"),
        ("inter", ["seq", "sound"], "found .*'sound'.* with mode=inter"),
    ],
)
def test_mistakes_in_the_pair(mode: str, pair: list[str], sentence: str) -> None:
    from skelssl.methods.skeleton_contrast import check_pair

    with pytest.raises(UserError, match=sentence):
        check_pair(mode, pair)


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ({"momentum": 1.5}, r"method\.teacher\.momentum: found 1\.5, expected a number from 0 to 1"),
        ({"decay": 0.9}, r"method\.teacher: found the keys decay, expected momentum alone"),
    ],
)
def test_mistakes_in_the_momentum(teacher: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(teacher=teacher)
