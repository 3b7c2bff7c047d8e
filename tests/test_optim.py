import pytest
import torch
from torch import nn

from skelssl.core.errors import UserError
from skelssl.optim import Optim, clip_norm, decay_groups

PSTL = Optim(name="adam", lr=5e-3, epochs=150, warmup_epochs=10)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 0.0), (1, 5e-4), (5, 2.5e-3), (9, 4.5e-3), (10, 5e-3), (45, 4.268e-3), (80, 2.5e-3), (115, 7.32e-4),
     (149, 6.29e-7)],
)  # fmt: skip
def test_schedule_of_pstl(epoch, rate):
    assert PSTL.rate(epoch) == pytest.approx(rate, rel=1e-3, abs=1e-12)


def test_steps_and_floors():
    step = Optim(name="sgd", lr=0.01, epochs=351, schedule="step", milestones=(251, 351))
    assert [step.rate(e) for e in (0, 250, 251, 350)] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    mamp = Optim(name="adamw", lr=1e-3, epochs=400, warmup_epochs=20, min_lr=5e-4, interval="step")
    assert mamp.rate(0.5) == pytest.approx(1e-3 * 0.5 / 20)
    assert mamp.rate(400) == pytest.approx(5e-4)
    assert Optim(name="adam", lr=1.0, epochs=9, stop_epoch=4).last_epoch == 4


def test_vectors_and_exempt_names_are_not_decayed():
    net = nn.ModuleDict({"a": nn.Linear(2, 3), "place": nn.Embedding(4, 2), "frozen": nn.Linear(1, 1)})
    net["frozen"].requires_grad_(False)
    decayed, spared = decay_groups(net.named_parameters(), exempt=["place"])
    assert [p.shape for p in decayed["params"]] == [(3, 2)]
    assert [p.shape for p in spared["params"]] == [(3,), (4, 2)]
    assert (decayed.get("weight_decay"), spared["weight_decay"]) == (None, 0.0)
    assert len(decay_groups(net.named_parameters())[0]["params"]) == 2


def test_eps_reaches_the_optimiser():
    weights = [nn.Parameter(torch.zeros(2))]
    built = Optim(name="adamw", lr=1e-3, epochs=1, eps=1e-6, clip=4.0).build(weights)
    assert (built.defaults["eps"], built.defaults["fused"]) == (1e-6, True)
    assert Optim(name="adamw", lr=1e-3, epochs=1).build(weights).defaults["eps"] == 1e-8


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_fused_steps_with_clipping_are_the_plain_ones(name, clip):
    """Against torch's one-tensor-at-a-time form and a norm taken by hand, over five steps of two groups."""
    plan = Optim(name=name, lr=0.05, epochs=1, weight_decay=0.1, clip=clip)
    start = [torch.linspace(-1, 1, 12).view(3, 4).double(), torch.linspace(0, 1, 5).double()]
    ours, plain = ([nn.Parameter(x.clone()) for x in start] for _ in range(2))
    fused = plan.build([{"params": ours[:1]}, {"params": ours[1:], "weight_decay": 0.0}])
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    more = {"momentum": 0.9} if name == "sgd" else {}
    groups = [{"params": plain[:1], "weight_decay": 0.1}, {"params": plain[1:], "weight_decay": 0.0}]
    single = kinds[name](groups, lr=0.05, foreach=False, fused=False, **more)
    assert fused.defaults["fused"]
    for step in range(5):
        for parameters in (ours, plain):
            for i, p in enumerate(parameters):
                p.grad = torch.cos(p.detach() * (step + i + 1)) + p.detach()
        if clip is not None:
            clip_norm(ours, clip)
            norm = sum(float(p.grad.square().sum()) for p in plain) ** 0.5
            assert norm > clip
            for p in plain:
                p.grad *= clip / (norm + 1e-6)
        fused.step()
        single.step()
    for a, b, x in zip(ours, plain, start, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
        assert (a - x).abs().max() > 1e-3


def test_mistakes_name_the_key():
    with pytest.raises(UserError, match=r"method\.optim\.name: found 'lion', expected one of adam, adamw, sgd"):
        Optim(name="lion", lr=1, epochs=1)
    with pytest.raises(UserError, match=r"method\.optim\.epochs: found 0"):
        Optim(name="adam", lr=1, epochs=0)
    with pytest.raises(UserError, match=r"method\.optim\.speed: found an unknown key"):
        Optim.parse({"name": "adam", "lr": 1, "epochs": 1, "speed": 2})
