"""Shapes and counts of the published sizes; exactness of every short cut against the plain form, with gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from benchmarks.naive import transformer as naive
from skelssl.core.errors import UserError
from skelssl.encoders.blocks import Attention, TransformerBlock
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.tokens import once_for_absent, patchify, put_tokens, take_tokens
from skelssl.encoders.transformer import Transformer, from_mamp_names
from skelssl.skeleton.layout import layouts, load_layout

SMALL = {"frames": 12, "patch": 4, "hidden": 16, "depth": 2, "heads": 2}
SKELETON2VEC = {"frames": 90, "patch": 3, "layer_scale": 1e-4, "norm_eps": 1e-6, "init": "normal"}


def clips(n: int = 3, frames: int = 12, joints: int = 25) -> Tensor:
    x = torch.randn(n, 3, frames, joints, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    x[1:, ..., 1] = 0  # all but the first clip show one person
    return x


def small(**options: object) -> Transformer:
    torch.manual_seed(0)
    return Transformer(**{**SMALL, **options}).double()


def gradients(module: nn.Module, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(module.parameters()), allow_unused=False))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_of_both_papers() -> None:
    mamp = Transformer()
    assert count(mamp) == 6_336_000
    assert [count(mamp.patch_embed), count(mamp.positions), count(mamp.blocks[0]), count(mamp.norm)] == [
        3_328, 6_400 + 7_680, 789_760, 512,
    ]  # fmt: skip
    skeleton2vec = Transformer(**SKELETON2VEC)
    assert count(skeleton2vec) == 6_339_328
    assert [count(skeleton2vec.patch_embed), count(skeleton2vec.blocks[0])] == [2_560, 790_272]
    assert (mamp.grid, skeleton2vec.grid) == ((30, 25), (30, 25))
    assert {block.norm1.eps for block in skeleton2vec.blocks} == {skeleton2vec.norm.eps} == {1e-6}


def test_initial_weights_of_both_papers() -> None:
    torch.manual_seed(0)
    mamp, skeleton2vec = Transformer(depth=1), Transformer(**{**SKELETON2VEC, "depth": 1})
    mamp, skeleton2vec = mamp.requires_grad_(False), skeleton2vec.requires_grad_(False)
    qkv = mamp.blocks[0].attn.qkv.weight  # one matrix 256 -> 768 to Xavier
    assert qkv.abs().max() == pytest.approx((6 / (256 + 768)) ** 0.5, rel=1e-3)
    assert mamp.patch_embed.weight.abs().max() == pytest.approx(12**-0.5, rel=1e-2)
    assert mamp.patch_embed.bias.abs().max() > 0.2
    assert skeleton2vec.patch_embed.weight.std() == pytest.approx(0.02, rel=0.05)
    assert skeleton2vec.blocks[0].mlp.fc1.weight.std() == pytest.approx(0.02, rel=0.05)
    assert skeleton2vec.blocks[0].gamma1.tolist() == pytest.approx([1e-4] * 256)
    for encoder in (mamp, skeleton2vec):
        assert not encoder.blocks[0].attn.qkv.bias.any()
        assert encoder.positions.time.std() == pytest.approx(0.02, rel=0.05)
        assert encoder.positions.space.std() == pytest.approx(0.02, rel=0.05)


def test_the_patch_layer_is_the_strided_convolution() -> None:
    encoder, x = small(), clips()
    weight = rearrange(encoder.patch_embed.weight, "d (l c) -> d c l 1", l=4)
    rows = F.conv2d(rearrange(x, "n c t v m -> (n m) c t v"), weight, encoder.patch_embed.bias, stride=(4, 1))
    expected = rearrange(rows, "b d s v -> b (s v) d")
    torch.testing.assert_close(encoder.patch_embed(encoder.patches(x)), expected)
    positions = encoder.positions.time[1] + encoder.positions.space[7]
    torch.testing.assert_close(encoder.embed(x)[:, 1 * 25 + 7], expected[:, 1 * 25 + 7] + positions)


def test_attention_is_the_explicit_softmax() -> None:
    torch.manual_seed(0)
    attention, x = Attention(16, 4).double(), torch.randn(3, 40, 16, dtype=torch.float64, requires_grad=True)
    ours, plain = attention(x), naive.attention(attention, x)
    torch.testing.assert_close(ours, plain)
    weight = torch.randn_like(plain)
    for found, expected in zip(*(torch.autograd.grad((y * weight).sum(), [x, *attention.parameters()])
                                 for y in (ours, plain)), strict=True):  # fmt: skip
        torch.testing.assert_close(found, expected)
    single, wide = Attention(256, 8), torch.randn(2, 750, 256)
    torch.testing.assert_close(single(wide), naive.attention(single, wide), rtol=0, atol=1e-5)


def test_bfloat16_stays_close() -> None:
    """Encoder and decoder of the published width, two blocks each: 2 % of the size of what comes out."""
    torch.manual_seed(0)
    encoder = Transformer(frames=24, depth=2)
    decoder = Decoder(grid=encoder.grid, width_in=256, out=12, depth=2)
    order = torch.rand(6, 150).argsort(1)
    x, visible, hidden = clips(frames=24).float(), order[:, :15], order[:, 15:]
    results = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half), torch.no_grad():
            tokens = encoder.encode(encoder.embed(x, visible))
            results.append((tokens.float(), decoder(tokens, visible, hidden).float()))
    for plain, half in zip(*results, strict=True):
        assert 0 < (plain - half).norm() / plain.norm() < 2e-2


def test_a_block_is_pre_norm_with_layer_scale() -> None:
    torch.manual_seed(0)
    options = {"mlp_ratio": 2.0, "drop_path": 0.0, "eps": 1e-6}
    block, x = TransformerBlock(16, 2, layer_scale=0.3, **options).double(), torch.randn(2, 5, 16, dtype=torch.float64)
    middle = x + 0.3 * naive.attention(block.attn, F.layer_norm(x, (16,), eps=1e-6))
    hidden = F.gelu(block.mlp.fc1(F.layer_norm(middle, (16,), eps=1e-6)))
    torch.testing.assert_close(block(x), middle + 0.3 * block.mlp.fc2(hidden))
    assert hidden.shape == (2, 5, 32)
    assert TransformerBlock(16, 2, layer_scale=None, **options).gamma1 is None


def test_drop_path_skips_whole_sequences_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    encoder = Transformer(**SMALL, drop_path=0.4)
    assert [block.drop_path for block in encoder.blocks] == [0.0, 0.4]
    block = encoder.blocks[1].train()
    kept = block._branch(torch.ones(4000, 3, 16), None)
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert kept[:, 0, 0].mean() == pytest.approx(1.0, abs=4 * (0.4 / 0.6 / 4000) ** 0.5)
    assert block.eval()._branch(kept, None) is kept


def test_gather_before_embed_equals_embed_all() -> None:
    encoder, x = small(), clips()
    order = torch.rand(6, 75, generator=torch.Generator().manual_seed(0)).argsort(1)
    visible = order[:, :9]
    early = encoder.embed(x, visible)
    late = take_tokens(encoder.embed(x), visible)
    torch.testing.assert_close(early, late, rtol=0, atol=1e-15)
    weight = torch.randn(6, 9, 16, dtype=torch.float64)
    found, expected = (gradients(encoder, (encoder.encode(y) * weight).sum()) for y in (early, late))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)
        assert one.any()


def test_visible_tokens_know_nothing_of_hidden_ones() -> None:
    encoder, x = small(), clips(1)
    visible = torch.tensor([[0, 30, 60], [1, 2, 74]])
    moved = x.clone()
    moved[:, :, :, 3:24] += 1.0  # all hidden of the second person; of the first, tokens (1, 5) and (2, 10) are seen
    outputs = [encoder.encode(encoder.embed(y, visible)) for y in (x, moved)]
    assert torch.equal(outputs[0][1], outputs[1][1])
    assert not torch.equal(outputs[0][0], outputs[1][0])


def test_persons_are_independent_and_the_feature_is_the_mean_of_tokens() -> None:
    encoder, x = small(), clips()
    tokens = encoder.tokens(x)
    assert tokens.shape == (3, 2, 3, 25, 16)
    torch.testing.assert_close(encoder(x), tokens.mean((1, 2, 3)))
    torch.testing.assert_close(encoder.tokens(x.flip(4)), tokens.flip(1))
    torch.testing.assert_close(tokens.mean(-1), torch.zeros_like(tokens[..., 0]), rtol=0, atol=1e-12)


def test_ignored_joints_leave_the_sequence() -> None:
    encoder, x = small(), clips()
    rest = torch.tensor([s * 25 + v for s in range(3) for v in range(25) if v not in (4, 20)]).expand(6, -1)
    expected = encoder.encode(take_tokens(encoder.embed(x), rest)).mean(1)
    torch.testing.assert_close(encoder(x, ignore=[20, 4]), rearrange(expected, "(n m) d -> n m d", m=2).mean(1))
    for ignore in ([25], list(range(25)), [-1]):
        with pytest.raises(UserError, match=r"encoder ignore: found \[.*\], expected fewer than 25 joints of 0 to 24"):
            encoder(x, ignore=ignore)


@pytest.mark.parametrize("absent", [[], [0], [1, 4], [0, 1, 2, 3, 4]])
def test_absent_persons_share_one_pass(absent: list[int]) -> None:
    encoder = small()
    patches = torch.randn(5, 75, 12, dtype=torch.float64)
    patches[absent] = 0
    rows = []

    def function(p: Tensor) -> Tensor:
        rows.append(len(p))
        return encoder.encode(encoder.embed_patches(p))

    weight = torch.randn(5, 75, 16, dtype=torch.float64)
    shared, full = once_for_absent(function, patches), function(patches)
    torch.testing.assert_close(shared, full)
    assert rows == [min(5, 5 - len(absent) + 1), 5]
    for one, other in zip(*(gradients(encoder, (y * weight).sum()) for y in (shared, full)), strict=True):
        torch.testing.assert_close(one, other)


def test_in_training_with_drop_path_persons_are_not_shared() -> None:
    torch.manual_seed(0)
    encoder = Transformer(**SMALL, drop_path=0.9).train()
    tokens = encoder.tokens(torch.zeros(8, 3, 12, 25, 2))
    assert len({tuple(person.flatten().tolist()) for clip in tokens for person in clip}) > 1
    assert torch.equal(*encoder.eval().tokens(torch.zeros(2, 3, 12, 25, 2)))


def test_block_outputs_are_the_residual_stream() -> None:
    encoder = small(depth=3)
    tokens = encoder.embed(clips())
    outputs = list(encoder.block_outputs(tokens))
    assert len(outputs) == 3
    torch.testing.assert_close(outputs[0], encoder.blocks[0](tokens))
    torch.testing.assert_close(encoder.norm(outputs[-1]), encoder.encode(tokens))
    last = list(encoder.block_outputs(tokens, last=2))
    assert all(torch.equal(a, b) for a, b in zip(last, outputs[1:], strict=True))
    for wrong in (0, 4):
        with pytest.raises(UserError, match=f"found {wrong}, expected 1 to 3"):
            encoder.block_outputs(tokens, last=wrong)


@pytest.mark.parametrize(("with_head", "norm"), [(True, 9), (False, 8)])
def test_layer_ids(with_head: bool, norm: int) -> None:
    encoder = Transformer(hidden=16, norm_with_head=with_head, layer_scale=0.1)
    ids = encoder.layer_ids()
    assert ids.keys() == dict(encoder.named_parameters()).keys()
    assert {ids[name] for name in ids if name.startswith(("patch_embed", "positions"))} == {0}
    assert [ids[f"blocks.{i}.gamma2"] for i in range(8)] == list(range(1, 9))
    assert ids["norm.weight"] == ids["norm.bias"] == norm
    scales = [0.8 ** (9 - layer) for layer in range(10)]
    assert scales[ids["patch_embed.bias"]] == pytest.approx(0.134217728)


@pytest.mark.parametrize("body", layouts())
def test_any_layout(body: str) -> None:
    joints = len(load_layout(body).joints)
    encoder = Transformer(**SMALL, layout=body)
    assert encoder.grid == (3, joints)
    assert encoder(torch.randn(2, 3, 12, joints, 2)).shape == (2, 16)


# --- HA-CM: some joints only, tokens in a Poincaré ball

OUTER = (2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 24)


def test_ha_cm_has_18_joints_and_the_published_count() -> None:
    ha_cm = Transformer(frames=72, patch=3, joints="outer", curvature=1.0)
    assert (ha_cm.joints, ha_cm.grid, ha_cm.length) == (OUTER, (24, 18), 432)
    assert count(ha_cm) == 6_331_904
    assert [count(ha_cm.patch_embed), count(ha_cm.positions)] == [2_560, 4_608 + 6_144]


def test_chosen_joints_are_all_it_sees() -> None:
    chosen, whole, x = small(joints="outer"), small(), clips()
    whole.load_state_dict({**chosen.state_dict(), "positions.space": torch.zeros(25, 16, dtype=torch.float64)})
    with torch.no_grad():
        whole.positions.space[list(OUTER)] = chosen.positions.space
        left_out = sorted(set(range(25)) - set(OUTER))
        torch.testing.assert_close(chosen(x), whole(x, ignore=left_out))
        torch.testing.assert_close(chosen(x, ignore=[3, 0]), whole(x, ignore=[3, *left_out]))
        assert torch.equal(chosen(x, ignore=left_out), chosen(x))
        assert chosen.tokens(x).shape == (3, 2, 3, 18, 16)
        moved = x.clone()
        moved[:, :, :, left_out] += 1
        assert torch.equal(chosen(moved), chosen(x))
    by_name = small(joints=[load_layout("ntu25").joints[v] for v in reversed(OUTER)])
    assert by_name.joints == OUTER


def test_tokens_are_mapped_into_the_ball_with_their_positions() -> None:
    flat, curved, x = small(), small(curvature=0.5), clips()
    v = flat.embed(x)
    norm = v.norm(dim=2, keepdim=True)
    torch.testing.assert_close(curved.embed(x), torch.tanh(0.5**0.5 * norm) * v / (0.5**0.5 * norm))
    torch.testing.assert_close(curved.tangent(curved.patches(x)), v)
    index = torch.tensor([[5, 2]]).expand(6, -1)
    torch.testing.assert_close(curved.embed(x, index), take_tokens(curved.embed(x), index))
    torch.testing.assert_close(curved(x), rearrange(curved.tokens(x), "n m s v d -> n (m s v) d").mean(1))


def test_the_core_is_the_layout_s() -> None:
    own, x = small(joints="outer"), clips()
    core = [0, 1, 4, 8, 12, 16, 20]
    torch.testing.assert_close(own.core_patches(x), patchify(x[:, :, :, core], 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": ["tail"]}, "layout ntu25: found no joint tail"),
        ({"joints": []}, r"encoder\.joints: found none in \[\], expected all, outer, or names"),
        ({"curvature": 0.0}, r"encoder\.curvature: found 0\.0, expected null or a number above 0"),
    ],
)
def test_unknown_joints_and_curvatures(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(**options)


def test_ignoring_every_joint_with_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="expected fewer than 18 joints of 0 to 24"):
        small(joints="outer")(clips(), ignore=OUTER)


def test_mistakes_are_one_sentence() -> None:
    for options, message in (
        ({"frames": 13}, r"encoder\.frames: found 13, expected a multiple of encoder\.patch = 4"),
        ({"heads": 3}, "hidden: found 16, expected a multiple of heads = 3"),
        ({"init": "zeros"}, "init: found 'zeros', expected one of xavier, normal"),
    ):
        with pytest.raises(UserError, match=message):
            small(**options)
    with pytest.raises(UserError, match=r"found shape \(1, 3, 10, 25, 2\), expected \(N, 3, 12, 25, 2\)"):
        small()(torch.zeros(1, 3, 10, 25, 2))


def test_names_of_the_reference() -> None:
    encoder = small()
    own = encoder.state_dict()
    theirs = {name: value for name, value in own.items() if name.startswith(("blocks.", "norm."))} | {
        "joints_embed.proj.weight": rearrange(own["patch_embed.weight"], "d (l c) -> d c l 1", l=4),
        "joints_embed.proj.bias": own["patch_embed.bias"],
        "temp_embed": own["positions.time"].view(1, 3, 1, 16),
        "pos_embed": own["positions.space"].view(1, 1, 25, 16),
    }
    found = from_mamp_names(theirs)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name]) for name in own)


def test_patches_and_places() -> None:
    x = torch.arange(2 * 3 * 8 * 5 * 2, dtype=torch.float64).view(2, 3, 8, 5, 2)
    patches = patchify(x, 4)
    assert patches.shape == (4, 10, 12)
    assert torch.equal(patches[1 * 2 + 1, 1 * 5 + 3].view(4, 3), x[1, :, 4:8, 3, 1].T)
    index = torch.tensor([[9, 0], [4, 5], [1, 2], [3, 8]])
    taken = take_tokens(patches, index)
    assert torch.equal(taken[3, 1], patches[3, 8])
    put = put_tokens(torch.zeros_like(patches), index, taken)
    assert torch.equal(take_tokens(put, index), taken)
    assert int(put.any(2).sum()) == 8
