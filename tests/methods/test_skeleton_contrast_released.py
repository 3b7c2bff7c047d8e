"""Released checkpoints of skeleton-contrast: told apart, renamed, stripped of heads, keys and queues."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import skelssl
from skelssl.core.errors import UserError
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.gru import GRU
from skelssl.encoders.hcn import HCN
from skelssl.encoders.representations import MODULES

WIDTH = {"seq": 8, "graph": 4, "image": 4}


def network(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    make = {"seq": GRU, "graph": AGCN, "image": HCN}[name]
    made: nn.Module = make(hidden=WIDTH[name])
    return made.eval()


def reference_names(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the names the authors' code would give them."""
    renamed = {}
    for key, value in state.items():
        part = key.split(".")
        if name == "seq":
            theirs = f"encoder.gru.{part[3][:-3]}_l{part[1]}{'_reverse' if part[2] == 'second' else ''}"
        elif name == "graph":
            theirs = ".".join([f"l{int(part[1]) + 1}", *part[2:]]) if part[0] == "blocks" else key
        else:
            number = part[-2][4:]
            branch = "m" if part[0] == "motion" else ""
            plain = number in "23"  # convolutions without a Sequential of their own
            theirs = f"conv{number}{branch}.{'' if plain else '0.'}{part[-1]}"
        renamed[theirs] = value
    assert MODULES[name].from_reference(renamed).keys() == state.keys()
    return renamed


def released(pair: tuple[str, ...]) -> dict[str, Tensor]:
    """Everything a checkpoint of the authors holds: query and key networks with heads, queues, pointers."""
    state: dict[str, Tensor] = {}
    for k, prefix in enumerate(("encoder_q", "encoder_k", "encoder_r", "encoder_l")[: 2 * len(pair)]):
        name = pair[k // 2]
        own = reference_names(name, network(name, k).state_dict())
        own |= {"fc.0.weight": torch.ones(3, 3), "fc.2.bias": torch.ones(128)}
        state |= {f"{prefix}.{key}": value for key, value in own.items()}
    queues = ("Queue_S1", "Queue_S2") if len(pair) == 2 else ("queue",)
    return state | {name: torch.ones(128, 20) for name in queues} | {"queue_ptr": torch.zeros(1)}


@pytest.mark.parametrize("pair", [("seq", "graph"), ("seq", "image"), ("graph", "image"), ("graph",)])
def test_s1_is_encoder_q_and_s2_is_encoder_r(tmp_path: Path, pair: tuple[str, ...]) -> None:
    torch.save({"epoch": 451, "state_dict": {f"module.{k}": v for k, v in released(pair).items()}}, tmp_path / "a.tar")
    x = torch.randn(3, 3, 64, 25, 2, generator=torch.Generator().manual_seed(0))
    for number, name in enumerate(pair):
        found = skelssl.load_encoder(
            tmp_path / "a.tar", source="skeleton_contrast", representation=name, hidden=WIDTH[name]
        )
        with torch.no_grad():
            assert torch.equal(found(x), network(name, 2 * number)(x))
        assert found.recipe["name"] == "agcn"
        assert found.probe["linear"]["milestones"] == [50, 70]
        assert set(found.view) == {"probe", "test"}
    default = skelssl.load_encoder(tmp_path / "a.tar", source="skeleton_contrast", hidden=WIDTH[pair[0]])
    with torch.no_grad():
        assert torch.equal(default(x), network(pair[0], 0)(x))


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_the_wrappings(tmp_path: Path, wrapped: bool, prefix: str) -> None:
    state = {f"{prefix}{key}": value for key, value in released(("seq", "graph")).items()}
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "a.pt")
    found = skelssl.load_encoder(tmp_path / "a.pt", source="skeleton_contrast", representation="graph", hidden=4)
    expected = network("graph", 2).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.state_dict().items())


@pytest.mark.parametrize(
    ("pair", "name", "setting"),
    [(("seq", "graph"), "seq", None), (("seq", "graph"), "graph", "seq+graph, graph"),
     (("graph", "image"), "image", "graph+image, image"), (("graph",), "graph", "intra graph")],
)  # fmt: skip
def test_what_sets_an_encoder_apart_is_known(
    tmp_path: Path, pair: tuple[str, ...], name: str, setting: str | None
) -> None:
    torch.save(released(pair), tmp_path / "a.pt")
    found = skelssl.load_encoder(tmp_path / "a.pt", source="skeleton_contrast", representation=name, hidden=WIDTH[name])
    assert found.about["setting"] == setting


def test_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(released(("seq", "graph")), path)
    with pytest.raises(UserError, match=r"found .image., expected one of seq, graph, concat_l2 in .*a\.pt"):
        skelssl.load_encoder(path, source="skeleton_contrast", representation="image")
    with pytest.raises(UserError, match=r"layers\.0\.first\.weight_ih_l0: found shape \(24, 150\), expected shape"):
        skelssl.load_encoder(path, source="skeleton_contrast")
    torch.save({"encoder_q.fc.0.weight": torch.ones(2)}, path)
    with pytest.raises(UserError, match="found no network of skeleton_contrast there, expected one under encoder_q"):
        skelssl.load_encoder(path, source="skeleton_contrast")
    broken = released(("seq", "graph"))
    del broken["encoder_r.l3.gcn1.PA"]
    torch.save(broken, path)
    with pytest.raises(UserError, match=r"blocks\.2\.gcn1\.PA: found no such tensor"):
        skelssl.load_encoder(path, source="skeleton_contrast", representation="graph", hidden=4)
    with pytest.raises(UserError, match="found no file, expected a checkpoint of skeleton_contrast"):
        skelssl.load_encoder(tmp_path / "none.pt", source="skeleton_contrast")
