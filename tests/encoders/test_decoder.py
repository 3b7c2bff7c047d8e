"""Tokens find their places: the scatter against concatenate-and-gather, and the fault that ``flat`` reproduces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.naive import transformer as naive
from skelssl.core.errors import UserError
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.tokens import take_tokens
from skelssl.maskers.motion_gumbel import MotionGumbelMask
from skelssl.maskers.motion_tube import MotionTubeMask
from skelssl.maskers.tokens import RandomMask, TokenMask

MASKERS = {
    "random": RandomMask(frames=90, patch=3),
    "tube": MotionTubeMask(beta=0.0),
    "motion tube": MotionTubeMask(),
    "motion gumbel": MotionGumbelMask(frames=90, patch=3),
}


def draw(name: str, n: int = 2) -> TokenMask:
    x = torch.randn(n, 3, 90, 25, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return MASKERS[name](x, torch.Generator().manual_seed(2))


def build(**options: object) -> Decoder:
    torch.manual_seed(0)
    sizes = {"grid": (30, 25), "width_in": 8, "out": 5, "hidden": 8, "depth": 1, "heads": 2}
    return Decoder(**{**sizes, **options}).double()


def without_positions(decoder: Decoder) -> Decoder:
    for p in decoder.positions.parameters():
        nn.init.zeros_(p)
    return decoder


def test_parameter_counts_of_both_papers() -> None:
    sizes = {"grid": (30, 25), "width_in": 256}
    decoders = (
        Decoder(**sizes, out=12),
        Decoder(**sizes, out=12, depth=5),
        Decoder(**sizes, out=256, layer_scale=1e-4, norm_eps=1e-6, init="normal"),
    )
    assert [sum(p.numel() for p in d.parameters()) for d in decoders] == [2_453_004, 4_032_524, 2_517_248]


@pytest.mark.parametrize("name", MASKERS)
def test_every_token_is_at_its_own_place_and_mask_tokens_elsewhere(name: str) -> None:
    decoder, mask = without_positions(build()), draw(name)
    tokens = torch.randn(4, mask.visible.shape[1], 8, dtype=torch.float64)
    grid = decoder.fill(tokens, mask.visible, mask.hidden)
    assert torch.equal(take_tokens(grid, mask.visible), tokens)
    fillers = take_tokens(grid, mask.hidden)
    assert torch.equal(fillers, decoder.mask_token.expand_as(fillers))


def outputs(decoder: Decoder, tokens: Tensor, mask: TokenMask) -> tuple[Tensor, Tensor]:
    """Predictions of hidden tokens: ours, and those of concatenate, gather, predict all."""
    order = torch.cat([mask.visible, mask.hidden], dim=1)
    return (
        decoder(tokens, mask.visible, mask.hidden),
        take_tokens(naive.decode(decoder, tokens, order), mask.hidden),
    )


@pytest.mark.parametrize("name", MASKERS)
def test_scatter_equals_unshuffle(name: str) -> None:
    decoder, mask = build(), draw(name)
    tokens = torch.randn(4, mask.visible.shape[1], 8, dtype=torch.float64, requires_grad=True)
    ours, plain = outputs(decoder, tokens, mask)
    torch.testing.assert_close(ours, plain)
    weight = torch.randn_like(ours)
    grads = [torch.autograd.grad((y * weight).sum(), [tokens, *decoder.parameters()]) for y in (ours, plain)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
        assert one.any()


def reference_flat(tokens: Tensor, filler: Tensor, mask: TokenMask) -> Tensor:
    """Concatenate on the flat axis, cut into rows, un-permute each row: Skeleton2vec's development code, in words."""
    b, per_row = len(tokens), mask.visible.shape[1] // 30
    order = torch.cat([mask.visible.view(b, 30, per_row), mask.hidden.view(b, 30, 25 - per_row)], dim=2) % 25
    rows = torch.cat([tokens, filler.expand(b, 750 - tokens.shape[1], -1)], dim=1).view(b, 30, 25, -1)
    return rows.gather(2, order.argsort(2)[..., None].expand_as(rows)).flatten(1, 2)


def test_flat_reproduces_the_scrambled_layout() -> None:
    decoder, mask = without_positions(build(unshuffle="flat")), draw("motion tube")
    tokens = torch.randn(4, 60, 8, dtype=torch.float64)
    grid = decoder.fill(tokens, mask.visible, mask.hidden)
    assert torch.equal(grid, reference_flat(tokens, decoder.mask_token, mask))
    at_home = (take_tokens(grid, mask.visible) == tokens).all(2).sum(1)
    assert (at_home >= 2).all()  # those of row 0 come home; the reference's own draw had 2 of 60
    assert (at_home < 10).all()
    assert not torch.equal(grid, without_positions(build()).fill(tokens, mask.visible, mask.hidden))


def test_flat_is_for_tube_masks_alone() -> None:
    for masker in (RandomMask(frames=90, patch=3, keep=60), RandomMask(frames=90, patch=3)):
        mask = masker(torch.randn(1, 3, 90, 25, 2))
        with pytest.raises(UserError, match=r"decoder\.unshuffle: found flat, expected correct"):
            build(unshuffle="flat").fill(torch.zeros(2, mask.visible.shape[1], 8), mask.visible, mask.hidden)
    with pytest.raises(UserError, match=r"decoder\.unshuffle: found 'none', expected one of correct, flat"):
        build(unshuffle="none")


def test_the_head_reads_hidden_tokens_only() -> None:
    decoder, mask = build(), draw("motion gumbel")
    tokens = torch.randn(4, mask.visible.shape[1], 8, dtype=torch.float64)
    everywhere = decoder.head(decoder.norm(decoder.states(tokens, mask.visible, mask.hidden)))
    assert everywhere.shape == (4, 750, 5)
    torch.testing.assert_close(decoder(tokens, mask.visible, mask.hidden), take_tokens(everywhere, mask.hidden))
