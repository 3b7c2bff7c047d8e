"""HA-CM's scores against loops, its draws against their probabilities, and where each token goes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.poincare import at, points
from skelssl.encoders.transformer import Transformer
from skelssl.maskers.hyperbolic import CrossMasker, attention_scores, hierarchy_scores, token_orders

V = 18


def encoder(frames: int = 12, **more: Any) -> Transformer:
    torch.manual_seed(0)
    small = {"frames": frames, "patch": 3, "hidden": 16, "depth": 1, "heads": 2, "joints": "outer", "curvature": 1.0}
    return Transformer(**{**small, **more}).double()


def masker(own: Transformer, **more: Any) -> CrossMasker:
    torch.manual_seed(1)
    return CrossMasker(grid=own.grid, dim=own.dim, **more).double()


def clips(n: int, frames: int = 12) -> Tensor:
    x = torch.randn(n, 3, frames, 25, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64).cumsum(2) / 5
    x[1::2, ..., 1] = 0
    return x


# --- scores


@pytest.mark.parametrize(("axis", "scale"), [("joint", 4.0), ("time", 0.25)])
def test_attention_scores_are_the_loop_s(axis: str, scale: float) -> None:
    q, k = (torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    expected = torch.zeros(2, 3, 5, dtype=torch.float64)
    for b in range(2):
        for t in range(3):
            logits = [[scale * float(q[b, t, v] @ k[b, u, v]) for u in range(3)] for v in range(5)]
            for v in range(5):
                for u in range(3):
                    over = [row[u] for row in logits] if axis == "joint" else logits[v]
                    expected[b, u, v] += math.exp(logits[v][u]) / sum(math.exp(x) for x in over)
    torch.testing.assert_close(attention_scores(q, k, scale, axis), expected)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_hierarchy_scores_are_the_loop_s(factor: float) -> None:
    def d(u: Tensor, v: Tensor) -> float:
        gaps = (1 - float(u @ u)) * (1 - float(v @ v))
        return math.acosh(1 + factor * float((u - v) @ (u - v)) / gaps)

    generator = torch.Generator().manual_seed(2)
    joints, father = (at(0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64))
                      for shape in ((2, 3, 5, 4), (2, 3, 4)))  # fmt: skip
    expected = torch.zeros(2, 3, 5, dtype=torch.float64)
    for b in range(2):
        for t in range(3):
            for j in range(5):
                expected[b, t, j] = sum(d(joints.x[b, t, i], joints.x[b, t, j]) for i in range(5) if i != j)
                expected[b, t, j] += 0.01 * d(father.x[b, t], joints.x[b, t, j])
    torch.testing.assert_close(hierarchy_scores(joints, father, 0.01, factor=factor), expected)


def test_scores_are_those_of_the_tokens() -> None:
    own, x = encoder(), clips(2)
    cross = masker(own, dist_factor=4.0)
    tokens = own.tangent(own.patches(x)).view(4, 4, V, 16)
    core = [0, 1, 4, 8, 12, 16, 20]
    assert list(own.joints) == [v for v in range(25) if v not in core]
    trunk = torch.stack([own.patch_embed(own_patch(x, v)) for v in core])  # (7, B, S, D), without positions
    father = at(trunk).x.mean(0)
    scores = cross.scores(own, x)
    expected = hierarchy_scores(at(tokens[:, 1::2]), points(father[:, 1::2]), 0.01, factor=4.0)
    torch.testing.assert_close(scores.hierarchy, expected)
    even = tokens[:, ::2]
    torch.testing.assert_close(scores.attention, attention_scores(cross.l1(even), cross.l2(even), 4.0))


def own_patch(x: Tensor, joint: int) -> Tensor:
    """Patches (N·M, S, 9) of one joint, frame by frame."""
    n, _, t, _, m = x.shape
    return x[:, :, :, joint].permute(0, 3, 2, 1).reshape(n * m, t // 3, 9)


@pytest.mark.parametrize(("layout", "factor"), [("corrected", 2.0), ("reference", 4.0)])
def test_far_from_the_camera_s_origin_scores_still_tell_tokens_apart(layout: str, factor: float) -> None:
    """Clips that no recipe centred (PKU-MMD) send every token to the edge of the ball, in float32 beyond it."""
    own = encoder().float()
    cross = masker(own, layout=layout, dist_factor=factor).float()
    for x in (clips(2).float() + 4.0, 1000 * clips(2).float(), torch.zeros(2, 3, 12, 25, 2)):
        for score in cross.scores(own, x):
            assert bool(score.isfinite().all())
            assert bool((score.flatten(1).std(1) > 0).all())
            assert bool((score >= 0).all())


def test_scores_take_no_gradient_and_float32_under_autocast() -> None:
    own, x = encoder().float(), clips(2).float()
    cross = masker(own).float()
    plain = cross.scores(own, x)
    with torch.autocast("cpu", torch.bfloat16):
        half = cross.scores(own, x)
    for a, b in zip(plain, half, strict=True):
        assert a.dtype == torch.float32
        assert not a.requires_grad
        assert torch.equal(a, b)


def test_swapping_two_joints_swaps_their_scores() -> None:
    own, x = encoder(), clips(2)
    cross = masker(own)
    with torch.no_grad():
        own.positions.space.zero_()
    before = cross.scores(own, x)
    swapped = x.clone()
    swapped[:, :, :, [2, 24]] = x[:, :, :, [24, 2]]  # first and last of those with tokens
    after = cross.scores(own, swapped)
    order = [V - 1, *range(1, V - 1), 0]
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a[:, :, order], b)


# --- draws


def test_a_token_is_drawn_as_often_as_its_probability() -> None:
    own = encoder(frames=6)
    half, draws = V, 4000
    cross = masker(own, ratio=1 - 1.5 / half)  # one token of each group stays
    assert cross.kept == 1
    x = clips(1, 6)[:, :, :, :, :1].expand(-1, -1, -1, -1, 2)  # both persons alike
    scores = cross.scores(own, x)
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(2, draws, 2, half, generator=generator, dtype=torch.float64)
    counts = torch.zeros(2, own.length)
    for group in noise.unbind(1):
        visible = cross(own, x, noise=(group[0], group[1])).visible
        for column in range(2):
            counts[column].scatter_add_(0, visible[:, column], torch.ones(2))
    for score, count, tokens in zip(scores, counts, (cross.attention_tokens, cross.hierarchy_tokens), strict=True):
        p = (score[0].flatten() / (0.9 * score[0].max())).softmax(0)
        expected = 2 * draws * p
        chi_square = ((count[tokens] - expected) ** 2 / expected).sum()
        assert chi_square < 45  # 99.98 % of the distribution with 17 degrees of freedom


def test_high_scores_stay_or_low_ones() -> None:
    own, x = encoder(), clips(8)
    scores = masker(own).scores(own, x)
    flat = [scores.attention.flatten(1), scores.hierarchy.flatten(1)]
    for keep, sign in (("high", 1), ("low", -1)):
        cross = masker(own, gumbel=False, keep=keep)
        groups = cross(own, x).visible.split(cross.kept, 1)
        for score, tokens, found in zip(flat, (cross.attention_tokens, cross.hierarchy_tokens), groups, strict=True):
            best = (sign * score).topk(cross.kept).indices
            assert torch.equal(tokens[best].sort().values, found.sort().values)
        means = []
        drawn = masker(own, keep=keep)
        for seed in range(200):
            groups = drawn(own, x, torch.Generator().manual_seed(seed)).visible.split(cross.kept, 1)
            means.append([float(score.gather(1, torch.searchsorted(tokens, found.contiguous())).mean() - score.mean())
                          for score, tokens, found in zip(flat, (cross.attention_tokens, cross.hierarchy_tokens),
                                                          groups, strict=True)])  # fmt: skip
        assert all(sign * sum(mean) > 0 for mean in zip(*means, strict=True))


def test_the_same_generator_draws_the_same_and_rows_are_independent() -> None:
    own, x = encoder(), clips(3)
    cross = masker(own)
    first, again = (cross(own, x, torch.Generator().manual_seed(5)).visible for _ in range(2))
    assert torch.equal(first, again)
    noise = tuple(torch.rand(6, 2 * V, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    order = [4, 5, 0, 1, 2, 3]  # clips 2, 0, 1
    plain = cross(own, x, noise=noise)
    moved = cross(own, x[[2, 0, 1]], noise=tuple(u[order] for u in noise))
    for a, b in zip(plain, moved, strict=True):
        assert torch.equal(a[order], b)


# --- where tokens go


def test_published_counts() -> None:
    own = Transformer(frames=72, patch=3, hidden=8, depth=1, heads=1, joints="outer", curvature=1.0)
    cross = CrossMasker(grid=own.grid, dim=8)
    assert (own.grid, own.length, cross.kept) == ((24, 18), 432, 21)
    mask = cross(own, clips(1, 72).float(), torch.Generator().manual_seed(0))
    assert [part.shape[1] for part in mask] == [42, 42, 390, 390]


def trace(mask: Any, layout_rows: Tensor) -> Tensor:
    """(B, L): the token that each row of the decoder holds, -1 for mask tokens."""
    held = torch.full((len(mask.visible), len(layout_rows)), -1)
    return held.scatter(1, mask.rows, mask.visible)


def test_corrected_every_visible_token_stands_at_its_own_place() -> None:
    own, x = encoder(), clips(3)
    mask = masker(own)(own, x, torch.Generator().manual_seed(2))
    segments = mask.visible // V
    k = mask.visible.shape[1] // 2
    assert bool((segments[:, :k] % 2 == 0).all())
    assert bool((segments[:, k:] % 2 == 1).all())
    held = trace(mask, torch.arange(own.length))
    places = torch.arange(own.length).expand_as(held)
    assert torch.equal(held[held >= 0], places[held >= 0])
    assert torch.equal(mask.hidden, mask.targets)
    both = torch.cat([mask.visible, mask.hidden], 1).sort(1).values
    assert torch.equal(both, places)  # what is not visible is predicted, once


def test_corrected_a_token_is_kept_for_its_own_score() -> None:
    own, x = encoder(), clips(1)
    cross = masker(own, gumbel=False, ratio=1 - 1.5 / (2 * V))
    scores = cross.scores(own, x)
    visible = cross(own, x).visible
    for score, token, first in ((scores.attention, visible[:, 0], 0), (scores.hierarchy, visible[:, 1], 1)):
        s, v = divmod(int(score[0].flatten().argmax()), V)
        assert int(token[0]) == (2 * s + first) * V + v


def test_reference_order_of_the_public_code() -> None:
    """An id trace by the spec's own words: sources, ranks, two halves; against rows, hidden rows and targets."""
    own, x = encoder(), clips(2)
    cross = masker(own, layout="reference", dist_factor=4.0)
    n, k = 2 * V, cross.kept
    noise = tuple(torch.rand(4, n, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (8, 9))
    mask = cross(own, x, noise=noise)
    scores = cross.scores(own, x)
    for b in range(4):
        flat = [score[b].T.flatten() for score in scores]  # joint by joint, both
        keys = []
        for f, u in zip(flat, noise, strict=True):
            gumbel = -torch.log(-torch.log(u[b] + 1e-10) + 1e-10)
            keys.append((f / (0.9 * f.max() + 1e-10)).log_softmax(0) + gumbel)
        orders = [key.argsort(descending=True) for key in keys]
        token = [
            [2 * (i % 2) * V + i // 2 for i in range(n)],  # joint by joint, of segments 0 and 2
            [(2 * (i // V) + 1) * V + i % V for i in range(n)],  # segment by segment, of segments 1 and 3
        ]
        sources = [token[0][i] for i in orders[0][:k]] + [token[1][i] for i in orders[1][:k]]
        sources += [-1] * (2 * n - 2 * k)
        ranks = [order.argsort() for order in orders]
        held = [sources[int(ranks[0][i])] for i in range(n)] + [sources[n + int(ranks[1][i])] for i in range(n)]
        loss = [bool(ranks[0][i] >= k) for i in range(n)] + [bool(ranks[1][i] >= k) for i in range(n)]
        goal = [2 * (i // V) * V + i % V for i in range(n)] + [(2 * (i // V) + 1) * V + i % V for i in range(n)]
        assert trace(mask, torch.arange(2 * n))[b].tolist() == held
        assert sorted(mask.hidden[b].tolist()) == [i for i in range(2 * n) if loss[i]]
        assert [goal[i] for i in mask.hidden[b]] == mask.targets[b].tolist()
    assert bool((mask.rows < n).all())  # none of the hierarchy's tokens reaches its own half


def test_reference_rows_hold_mask_tokens_in_the_second_half() -> None:
    own, x = encoder(), clips(1)
    decoder = Decoder(grid=own.grid, width_in=16, out=9, hidden=16, depth=1, heads=2).double()
    mask = masker(own, layout="reference")(own, x, torch.Generator().manual_seed(0))
    tokens = own.encode(own.embed(x, mask.visible))
    rows = decoder.fill(decoder.embed(tokens), mask.rows, mask.hidden)
    second = slice(own.length // 2, None)
    expected = (decoder.mask_token[0] + decoder.positions())[second]
    torch.testing.assert_close(rows[:, second], expected.expand(len(rows), -1, -1))


def test_reference_orders_at_full_size() -> None:
    orders = token_orders(24, 18, "reference")
    assert [int(orders.attention_tokens[i]) for i in (0, 1, 12)] == [0, 36, 1]
    assert [int(orders.hierarchy_tokens[i]) for i in (0, 1, 18)] == [18, 19, 54]
    assert [int(orders.row_targets[i]) for i in (0, 18, 216, 234)] == [0, 36, 18, 54]


# --- refusals


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ratio": 0.99}, r"masking\.ratio: found 0\.99, which leaves 0 of 36 tokens of a group visible"),
        ({"keep": "most"}, r"masking\.keep: found 'most', expected one of high, low"),
        ({"layout": "mended"}, r"masking\.layout: found 'mended', expected one of corrected, reference"),
        ({"softmax_axis": "frames"}, r"masking\.softmax_axis: found 'frames'"),
        ({"attn_scale": 3}, r"masking\.attn_scale: found 3"),
        ({"tau": 0}, r"masking\.tau: found 0, expected a number above 0"),
        ({"curvature": -1.0}, r"masking\.curvature: found -1\.0"),
        ({"curvature": None}, r"masking\.curvature: found None, expected a number above 0"),
        ({"dist_factor": "two"}, r"masking\.dist_factor: found 'two', expected a number above 0"),
        ({"dist_factor": math.inf}, r"masking\.dist_factor: found inf"),
        ({"father_weight": -0.1}, r"masking\.father_weight: found -0\.1, expected a number of at least 0"),
        ({"ratio": True}, r"masking\.ratio: found True, expected a fraction from 0 to 1"),
        ({"gumbel": "off"}, r"masking\.gumbel: found 'off', expected true or false"),
    ],
)
def test_what_has_no_meaning_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        masker(encoder(), **more)


@pytest.mark.parametrize("joint", [0, 3])  # one of the trunk, one with tokens
def test_values_without_an_order_are_refused(joint: int) -> None:
    own, x = encoder(), clips(2)
    x[1, 0, 4, joint, 0] = math.nan
    with pytest.raises(UserError, match="masking input: found NaN or infinite coordinates, expected finite ones"):
        masker(own)(own, x)


def test_noise_of_another_shape_is_refused() -> None:
    own, draws = encoder(), torch.rand(1, 2 * V, dtype=torch.float64)
    with pytest.raises(UserError, match=r"masking noise: found shape \(1, 36\), expected \(4, 36\)"):
        masker(own)(own, clips(2), noise=(draws, draws))


def test_an_odd_number_of_segments_is_refused() -> None:
    with pytest.raises(UserError, match=r"encoder\.frames: found 3 segments, expected an even number"):
        masker(encoder(frames=9))
