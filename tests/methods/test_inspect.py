"""What is drawn over the body equals what the networks do, computed another way."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skelssl.encoders.agcn import AGCN
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from skelssl.methods import inspect
from skelssl.methods.inspect import (
    attentions,
    between_joints,
    edge_importance,
    learned_graph,
    mean_attention,
    radius,
    roll_out,
    sensitivity,
    tokens_of,
)
from skelssl.skeleton.layout import load_layout

BODY = load_layout("ntu25")


@pytest.fixture
def encoder() -> Transformer:
    torch.manual_seed(0)
    return Transformer(frames=12, patch=4, hidden=16, depth=3, heads=2).eval()


def clips(n: int, frames: int = 12) -> Tensor:
    x = torch.randn(n, 3, frames, 25, 2, generator=torch.Generator().manual_seed(1))
    x[0, ..., 1] = 0  # alone
    return x


def test_attention_is_what_moves_values(encoder: Transformer) -> None:
    """With the values of one head-wide unit vector per token, a block's attention gives its own weights back."""
    tokens = torch.randn(1, 75, 16)
    block = encoder.blocks[2]
    found = list(attentions(encoder, tokens))[2]
    x = block.norm1(encoder.blocks[1](encoder.blocks[0](tokens)))
    q, k, _ = (part.view(75, 2, 8) for part in block.attn.qkv(x)[0].chunk(3, 1))
    expected = np.zeros((75, 75))
    for h in range(2):
        for i in range(75):
            weights = np.exp((k[:, h] @ q[i, h] / 8**0.5).detach().numpy())
            expected[i] += weights / weights.sum() / 2
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert found.sum(1).allclose(torch.ones(75), atol=1e-5)


def test_rolled_out_by_hand() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    last, rolled = roll_out(iter([first, second]))
    assert torch.equal(last, second)
    # [[.5, .5], [0, 1]] @ [[1, 0], [.25, .75]]
    assert rolled.allclose(torch.tensor([[0.625, 0.375], [0.25, 0.75]]))


def test_joints_share_what_their_tokens_share() -> None:
    s, v = 2, 3
    found = torch.rand(s * v, s * v, generator=torch.Generator().manual_seed(2)).softmax(1)
    expected = np.zeros((v, v))
    for a in range(s * v):
        for b in range(s * v):
            expected[a % v, b % v] += float(found[a, b]) / s
    np.testing.assert_allclose(between_joints(found, (s, v)).numpy(), expected, rtol=1e-5)


def test_absent_persons_do_not_count(encoder: Transformer) -> None:
    x = clips(2)
    assert len(tokens_of(encoder, x)) == 3
    whole = [roll_out(attentions(encoder, tokens[None]))[1] for tokens in encoder.embed(x)[[0, 2, 3]]]
    assert mean_attention(encoder, x)[1].allclose(sum(whole) / 3)


@pytest.mark.parametrize("c", [1.0, 0.5])
def test_radius_is_twice_the_length_in_the_tangent_space(c: float) -> None:
    torch.manual_seed(0)
    ball = Transformer(frames=12, patch=4, hidden=16, depth=1, heads=2, joints="outer", curvature=c).eval()
    x = clips(2)
    lengths = ball.tangent(ball.patches(x)).norm(dim=-1)[[0, 2, 3]].view(3, 3, 18)
    assert radius(ball, x).allclose(2 * lengths.mean((0, 1)), rtol=1e-3)


def test_importance_of_one_bone() -> None:
    encoder = STGCN(hidden=2)
    head, neck = BODY.index("head"), BODY.index("neck")
    with torch.no_grad():
        encoder.edge_importance[9][:, head, neck] = 3.0
        encoder.edge_importance[9][:, 7, 7] = 0.5
    mean, first, last = edge_importance(encoder, BODY).values()
    expected = np.ones(24)
    assert (first.bones == expected).all()
    expected[BODY.bones.index((head, neck))] = 2  # one of its two directions
    np.testing.assert_allclose(last.bones, expected)
    np.testing.assert_allclose(mean.bones, 1 + (expected - 1) / 10)
    assert last.joints[7] == pytest.approx(0.5)
    assert np.delete(last.joints, 7) == pytest.approx(np.ones(24))


def test_graph_of_agcn_reads_as_who_gathers_from_whom() -> None:
    torch.manual_seed(0)
    encoder = AGCN(hidden=4).eval()
    with torch.no_grad():
        for block in encoder.blocks:
            block.gcn1.PA.zero_()
            block.gcn1.PA[0, 3, 20] = -1.0  # joint 20 gathers from joint 3
    whole, said, learned, body = learned_graph(encoder, clips(2, 16)).values()
    expected = np.zeros((25, 25))
    expected[20, 3] = 1
    np.testing.assert_allclose(learned, expected)
    np.testing.assert_allclose(said.sum(1), 3 * np.ones(25), rtol=1e-4)  # each partition's similarities sum to 1
    np.testing.assert_allclose(body, BODY.adjacency("directed").sum(0).T, rtol=1e-6)
    np.testing.assert_allclose(whole, body + said - expected, rtol=1e-3, atol=1e-6)


class Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight  # (D, 3, T, V, M)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nctvm,dctvm->nd", x, self.weight)


def test_reaction_is_the_norm_of_the_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "DIRECTIONS", 3000)
    weight = torch.randn(3, 3, 2, 4, 2, generator=torch.Generator().manual_seed(0))
    weight[..., 2, :] = 0  # a joint that the network never looks at
    found = sensitivity(Linear(weight), torch.randn(2, 3, 2, 4, 2), seed=0)
    expected = weight.square().sum((0, 1, 2, 4)).sqrt().numpy()
    assert found[2] == 0
    np.testing.assert_allclose(found, expected, rtol=0.05)
