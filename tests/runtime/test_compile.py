"""``compile=true``: the same losses as without it, in place, and without a break in the graph."""

import sys

import lightning as L
import pytest
import torch
import torch._dynamo
import torch.distributed as dist
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

from skelssl.core.errors import UserError
from skelssl.core.identity import run_id
from skelssl.encoders.stgcn import STGCNBlock
from skelssl.methods.base import Method
from skelssl.methods.build import build_method
from skelssl.runtime import compile as compilation
from skelssl.runtime.batch_norm import sync_batch_norms
from skelssl.training.loop import train
from tests.helpers.config import train_config
from tests.helpers.ranks import run_ranks

# Dropout would draw other numbers.
METHODS = {
    "pstl": ["method.encoder.dropout=0"],
    "skeleton_contrast": ["method.pair=[graph,image]", "method.encoder.image.dropout=0"],
    "mamp": [],
    "skeleton2vec": [],
    "ha_cm": [],
}
# A last batch of four after four of eight: other shapes than the first ones.
STEPS = ["trainer.limit_train_batches=null", "method.loader.drop_last=false", "callbacks.masks=null",
         "method.optim.lr=1e-3"]  # fmt: skip


class Losses(L.Callback):
    def __init__(self):
        self.found = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.found.append(float(outputs["loss"]))


@pytest.fixture
def fresh(monkeypatch):
    """Without what other tests have compiled, and with a limit that this one sets."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=8):
        yield monkeypatch
    torch._dynamo.reset()


def losses(config, folder):
    found = Losses()
    train(config, folder, [found])
    return found.found


def state(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def traced(monkeypatch):
    """torch.compile without its code generator, which takes minutes: graphs, their guards and shapes are real."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: real(function, backend="eager"))


# The two of ten graph blocks take tens of seconds each.
SLOW = [pytest.param(m, marks=pytest.mark.slow) if m in ("pstl", "skeleton_contrast") else m for m in METHODS]


@pytest.mark.parametrize("method", SLOW)
def test_a_run_is_one_graph_a_part_and_the_same_run(fresh, data_root, tmp_path, method):
    traced(fresh)
    configs = [train_config(data_root, f"method={method}", *METHODS[method], *STEPS, f"compile={c}")
               for c in ("false", "true")]  # fmt: skip
    assert run_id(configs[0]) != run_id(configs[1])
    plain, compiled = (losses(c, tmp_path / str(i)) for i, c in enumerate(configs))
    assert len(plain) >= 4
    assert compiled == pytest.approx(plain, rel=1e-5)
    assert counters["stats"]["unique_graphs"] >= 2
    assert not counters["graph_break"], counters["graph_break"]
    assert not counters["unimplemented"], counters["unimplemented"]  # the limit of recompilations among them
    a, b = state(tmp_path / "0"), state(tmp_path / "1")
    assert a.keys() == b.keys()
    for name, weight in a.items():
        torch.testing.assert_close(b[name], weight, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    build_method(configs[1]).load_state_dict(a)


def test_a_compiled_run_goes_on_from_a_plain_one_and_the_reverse(fresh, data_root, tmp_path):
    traced(fresh)
    base = ["method=mamp", "method.optim.epochs=2", "callbacks.probe=null", *STEPS]
    for first, then in (("true", "false"), ("false", "true")):
        place = tmp_path / first
        losses(train_config(data_root, *base, "method.optim.stop_epoch=1", f"compile={first}"), place / "a")
        last = place / "a" / "checkpoints" / "last.ckpt"
        assert len(losses(train_config(data_root, *base, f"compile={then}", f"resume='{last}'"), place / "b")) == 5


def test_many_shapes_end_in_few_graphs(fresh, data_root):
    """Joints that PSTL drops, 1 to 8 of 25, are a size and no code: after the first few no graph is added."""
    traced(fresh)
    method = build_method(train_config(data_root, "method.encoder.dropout=0"))
    compilation.compile_parts(method.compiled())
    x = torch.randn(4, 3, 20, 25, 2)

    def graphs(dropped):
        method.encoder(x, ignore=list(range(dropped))).sum().backward()
        return counters["stats"]["unique_graphs"]

    graphs(1), graphs(3)
    few = graphs(2)
    assert [graphs(dropped) for dropped in (4, 5, 6, 7, 8)] == [few] * 5


def test_dropout_is_drawn_inside_of_the_graph(fresh, data_root):
    traced(fresh)
    block = build_method(train_config(data_root, "method.encoder.dropout=0.5")).encoder.st_gcn_networks[1]
    compilation.compile_parts([(block, "forward")])
    torch.manual_seed(0)
    x = torch.randn(25, 2, 8, 6).contiguous(memory_format=torch.channels_last)
    graphs = []
    for _ in range(3):  # the first call fills a table of einops, which the second one meets
        assert block(x, torch.rand(3, 25, 25)).isfinite().all()
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[1] == graphs[2] <= 2
    assert not counters["graph_break"], counters["graph_break"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mamp", "skeleton2vec", "ha_cm"])
def test_inductor_gives_the_same_losses(fresh, data_root, tmp_path, method):
    small = ["method.encoder.depth=1", "method.loader.drop_last=true", "callbacks.probe=null", *STEPS[2:]]
    run = [train_config(data_root, f"method={method}", *METHODS[method], *small, "trainer.limit_train_batches=3",
                        f"compile={choice}") for choice in ("false", "true")]  # fmt: skip
    plain, compiled = (losses(c, tmp_path / str(i)) for i, c in enumerate(run))
    assert len(plain) == 3
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert not counters["graph_break"], counters["graph_break"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pstl", "skeleton_contrast"])
def test_inductor_compiles_a_block_of_each_graph_encoder(fresh, data_root, method):
    """One block, since the C++ of a whole encoder takes minutes; its gradients and running statistics too."""
    fresh.setattr("skelssl.encoders.convolution.NARROW", 0)  # as the blocks of real widths go
    config = train_config(data_root, f"method={method}", *METHODS[method])

    def step(compiled):
        encoder = build_method(config).encoder.train()
        block = (encoder.st_gcn_networks if method == "pstl" else encoder.blocks)[4]
        if compiled:
            compilation.compile_parts([(block, "forward")])
        seen = []
        block.register_forward_hook(lambda m, a, y: seen.append(y))
        encoder(torch.randn(2, 3, 12, 25, 2, generator=torch.Generator().manual_seed(0))).square().sum().backward()
        grads = torch.cat([p.grad.flatten() for p in block.parameters() if p.grad is not None])  # some only of rounding
        return [seen[0].detach(), grads, *(b for b in block.buffers() if b.is_floating_point())]

    for a, b in zip(step(False), step(True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(a.abs().max()))
    assert not counters["graph_break"], counters["graph_break"]


def block_of_a_rank() -> dict[str, torch.Tensor]:
    """How far a compiled ST-GCN block under DDP is from a plain one, output and gradients; batch norm spans ranks."""
    found = {}
    for backend in ("", "eager"):
        torch.manual_seed(0)
        block = sync_batch_norms(STGCNBlock(4, 8, partitions=3, stride=2, dropout=0.0, residual=True))
        x, graph = torch.randn(25, 4, 8, 6), torch.rand(3, 25, 25)
        if backend:
            block.forward = torch.compile(block.forward, backend=backend)
        model = DistributedDataParallel(block)
        y = model(x.contiguous(memory_format=torch.channels_last) * (1 + dist.get_rank()), graph)
        y.square().sum().backward()
        values = {"y": y.detach(), **{name: p.grad for name, p in block.named_parameters()}}
        found = {k: (v - found[k]).abs().max() / found[k].abs().max() for k, v in values.items()} if found else values
    return found


@pytest.mark.slow
def test_compiled_blocks_work_between_ranks():
    for differences in run_ranks(block_of_a_rank, 2):
        assert differences.keys() >= {"y", "gcn.conv.weight", "tcn.0.weight"}
        # The bias before a batch norm has no gradient but rounding.
        named = {
            k: float(v) for k, v in differences.items() if k not in ("tcn.2.bias", "residual.0.bias", "gcn.conv.bias")
        }
        assert max(named.values()) < 1e-4, named


def test_every_part_that_is_named_is_there(data_root):
    for method in METHODS:
        built = build_method(train_config(data_root, f"method={method}"))
        assert all(callable(getattr(part, name)) for part, name in built.compiled())
        assert {*built.state_dict()} == {*build_method(train_config(data_root, f"method={method}")).state_dict()}
    assert "compiled" in Method.__dict__
    seq = build_method(train_config(data_root, "method=skeleton_contrast", "method.mode=intra", "method.pair=[seq]"))
    assert seq.compiled() == []  # torch's own GRU is left alone


def test_without_a_compiler_it_is_one_sentence(data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(UserError, match=r"compile: found true and no C\+\+ compiler no-such-compiler -O2, expected"):
        train(train_config(data_root, "compile=true"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("CXX", sys.executable)
    compilation.check_compiler()
