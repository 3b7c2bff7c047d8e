"""Exact counts, marginals and boundary cases of the token masks; MAMP's keys against arithmetic token by token."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.maskers.motion_gumbel import MotionGumbelMask, gumbel_keys, segment_motion
from skelssl.maskers.motion_tube import MotionTubeMask, relative_motion, tube_motion, tubes
from skelssl.maskers.tokens import RandomMask, TokenMask, kept, token_noise
from skelssl.skeleton.layout import layouts, load_layout


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(kind: str, n: int = 2, frames: int = 90) -> Tensor:
    x = torch.randn(n, 3, frames, 25, 2, generator=generator(n))
    if kind == "walk":
        return x.cumsum(2) / 30
    return {"random": x, "zero": x * 0, "constant": x[:, :, :1].expand_as(x).clone()}[kind]


def check_partition(mask: TokenMask, total: int, visible: int) -> None:
    assert mask.visible.shape[1] == visible
    both = torch.cat([mask.visible, mask.hidden], dim=1).sort(1).values
    assert torch.equal(both, torch.arange(total).expand_as(both))
    assert mask.mask.dtype == torch.bool
    assert torch.equal(mask.mask.sum(1), torch.full((len(both),), total - visible))
    assert not mask.mask.gather(1, mask.visible).any()


# --- counts


def test_counts_are_floored_in_float64() -> None:
    assert {r: kept(25, r) for r in (0.80, 0.85, 0.90, 0.95)} == {0.80: 4, 0.85: 3, 0.90: 2, 0.95: 1}
    assert kept(750, 0.9) == 74


@pytest.mark.parametrize("kind", ["random", "zero", "constant", "walk"])
def test_every_masker_hides_exactly_as_many(kind: str) -> None:
    x = clips(kind)
    for masker, visible in (
        (RandomMask(frames=90, patch=3), 74),
        (RandomMask(frames=90, patch=3, keep=60), 60),
        (MotionGumbelMask(frames=90, patch=3), 74),
        (MotionTubeMask(), 60),
        (MotionTubeMask(beta=0.0, tube=1), 60),
        (MotionTubeMask(tube=30, ratio=0.8), 120),
    ):
        check_partition(masker(x, generator()), 750, visible)
    check_partition(MotionGumbelMask()(clips(kind, frames=120), generator()), 750, 74)


@given(seed=st.integers(0, 2**32), ratio=st.floats(0.05, 0.95), tube=st.sampled_from([1, 2, 3, 6]))
def test_counts_hold_for_any_ratio_tube_and_clip(seed: int, ratio: float, tube: int) -> None:
    x = torch.randn(1, 3, 12, 25, 2, generator=generator(seed))
    k = kept(25, ratio)
    check_partition(MotionTubeMask(frames=12, patch=2, tube=tube, ratio=ratio)(x, generator(seed)), 150, 6 * k)
    check_partition(MotionGumbelMask(frames=12, patch=2, ratio=ratio)(x, generator(seed)), 150, kept(150, ratio))


# --- tubes


def test_a_tube_keeps_its_joints_and_tubes_differ() -> None:
    mask = MotionTubeMask()(clips("random"), generator()).mask.view(4, 6, 5, 25)
    assert torch.equal(mask, mask[:, :, :1].expand_as(mask))
    assert not torch.equal(mask[:, 0], mask[:, 1])
    assert not torch.equal(mask[0], mask[1])  # persons of one clip


def test_tube_scores_by_hand() -> None:
    scores = torch.tensor([[[0.3, 0.1, 0.2], [0.5, 0.9, 0.4]]])
    mask = tubes(scores, 1, 2)
    assert mask.visible.tolist() == [[1, 4, 8, 11]]
    assert mask.hidden.tolist() == [[2, 0, 5, 3, 6, 7, 9, 10]]
    assert mask.mask.view(4, 3).int().tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0], [1, 1, 0]]


def test_tube_motion_against_loops() -> None:
    x = clips("random", n=1, frames=12).double()
    found = tube_motion(x, 6)
    for person in range(2):
        for tube in range(2):
            for joint in range(25):
                steps = [
                    abs(x[0, c, t + 1, joint, person] - x[0, c, t, joint, person]) if t < 11 else torch.tensor(0.0)
                    for t in range(6 * tube, 6 * tube + 6)
                    for c in range(3)
                ]
                assert found[person, tube, joint].item() == pytest.approx(sum(steps).item() / 18)
    assert relative_motion(found).amax(2).tolist() == [pytest.approx([1.0, 1.0], abs=1e-5)] * 2


def moving(joints: int, n: int) -> Tensor:
    """Clips of two frames a segment in which the first ``joints`` joints move alike and the others stand."""
    x = torch.zeros(n, 3, 2, 25, 2)
    x[:, :, 1, :joints] = 1.0
    return x


@pytest.mark.parametrize(("beta", "move", "still"), [(0.0, 0.920, 0.920), (0.1, 0.982, 0.908), (0.2, 0.998, 0.905)])
def test_share_hidden_by_the_weight_of_motion(beta: float, move: float, still: float) -> None:
    masker = MotionTubeMask(frames=2, patch=2, tube=1, beta=beta)
    share = masker(moving(4, 20_000), generator()).mask.float().mean(0)
    assert share[:4].mean() == pytest.approx(move, abs=0.004)
    assert share[4:].mean() == pytest.approx(still, abs=0.004)
    if beta == 0:
        count = share * 40_000
        expected = 0.92 * 40_000  # 23 of 25; the counts of one draw are tied, hence the factor 24/25
        assert ((count - expected).square() / (expected * 0.08)).sum() * 24 / 25 < 51.2  # chi-square, 24 dof, 0.1 %


def test_without_motion_the_weight_does_nothing() -> None:
    for kind in ("zero", "constant"):
        masks = [MotionTubeMask(beta=beta)(clips(kind), generator(3)) for beta in (0.0, 0.2)]
        assert torch.equal(masks[0].visible, masks[1].visible)
    assert relative_motion(torch.full((1, 1, 25), 1e-9)).max() < 1e-2  # noise of a still body is not amplified


def test_scale_and_order_of_joints() -> None:
    x, masker = clips("random"), MotionTubeMask()
    noise = torch.rand(4, 6, 25, generator=generator())
    mask = masker(x, noise=noise).mask
    assert torch.equal(masker(10 * x, noise=noise).mask, mask)
    order = torch.randperm(25, generator=generator())
    moved = masker(x[:, :, :, order], noise=noise[:, :, order]).mask
    assert torch.equal(moved.view(4, 30, 25), mask.view(4, 30, 25)[:, :, order])


# --- MAMP


def test_segment_motion_against_loops() -> None:
    x = clips("random", n=1, frames=12).double()
    found = segment_motion(x, 4)
    assert torch.equal(found[:, 0], found[:, 1])
    for s in (1, 2):
        steps = [abs(x[0, c, 4 * s + t, 7, 1] - x[0, c, 4 * s + t - 4, 7, 1]) for t in range(4) for c in range(3)]
        assert found[1, s, 7].item() == pytest.approx(sum(steps).item() / 12)


def test_gumbel_keys_token_by_token() -> None:
    motion = torch.tensor([[[0.0, 0.5], [1.0, 2.0]]], dtype=torch.float64)
    noise = torch.tensor([[0.1, 0.5, 0.0, 0.9]], dtype=torch.float64)
    z = [m / (0.8 * 2.0 + 1e-10) for m in (0.0, 0.5, 1.0, 2.0)]
    total = sum(map(math.exp, z))
    expected = [
        math.log(math.exp(a) / total) - math.log(-math.log(u + 1e-10) + 1e-10)
        for a, u in zip(z, (0.1, 0.5, 0.0, 0.9), strict=True)
    ]
    assert gumbel_keys(motion, noise, 0.8)[0].tolist() == pytest.approx(expected, rel=1e-12)
    still = gumbel_keys(torch.zeros(1, 2, 2), noise.float(), 0.8)[0]
    assert still.argsort().tolist() == noise[0].argsort().tolist()  # an absent person: the noise alone decides
    assert still.isfinite().all()


def test_what_moves_is_hidden_as_often_as_successive_draws_say() -> None:
    """With one visible token of two, the one with the smaller key: P(hidden) is its share of the softmax."""
    motion = torch.tensor([1.0, 0.0]).expand(40_000, 1, 2)
    keys = gumbel_keys(motion, torch.rand(40_000, 2, generator=generator()), 0.8)
    share = (keys[:, 0] > keys[:, 1]).double().mean()
    assert share == pytest.approx(math.exp(1.25) / (1 + math.exp(1.25)), abs=4 * 0.5 / 200)


def test_masking_frequency_against_sequential_draws() -> None:
    """Hiding K of L by Gumbel top-K is drawing K without replacement by π; 2,000 draws beside an independent one."""
    x = torch.zeros(1, 3, 8, 25, 2)
    x[:, :, 4:, :, 0] = torch.arange(25.0)[:, None].T / 24
    masker = MotionGumbelMask(frames=8, patch=4, ratio=0.5, tau=0.5)
    found = masker(x.expand(2000, -1, -1, -1, -1), generator()).mask[0::2].float().mean(0)
    pi = (segment_motion(x, 4)[0].flatten() / 0.5).softmax(0)
    drawn = torch.multinomial(pi.expand(2000, -1), 25, generator=generator(1))
    expected = torch.zeros(2000, 50).scatter_(1, drawn, 1.0).mean(0)
    assert (found - expected).abs().max() < 4.5 * (2 * 0.25 / 2000) ** 0.5
    assert found[24] > found[0] + 0.3


# --- all


def maskers() -> dict[str, Any]:
    return {
        "random": RandomMask(frames=90, patch=3),
        "tube": MotionTubeMask(),
        "gumbel": MotionGumbelMask(frames=90, patch=3),
    }


@pytest.mark.parametrize("name", maskers())
def test_the_generator_alone_decides(name: str) -> None:
    masker, x = maskers()[name], clips("random")
    first = masker(x, generator(1)).visible
    torch.rand(3)
    assert torch.equal(masker(x, generator(1)).visible, first)
    assert not torch.equal(masker(x, generator(2)).visible, first)
    half = masker(x.bfloat16(), generator(1)).mask
    assert torch.equal(half, masker(x.bfloat16().float(), generator(1)).mask)


@pytest.mark.parametrize("name", maskers())
def test_values_without_an_order_are_refused(name: str) -> None:
    for value in (torch.nan, torch.inf):
        x = clips("random")
        x[1, 2, 50, 7, 1] = value
        with pytest.raises(UserError, match="masking input: found NaN or infinite coordinates"):
            maskers()[name](x)
    with pytest.raises(UserError, match=r"found shape \(2, 3, 88, 25, 2\), expected \(N, C, 90, 25, 2\)"):
        maskers()[name](clips("random", frames=88))
    with pytest.raises(UserError, match=r"masking noise: found shape \(3,\)"):
        maskers()[name](clips("random"), noise=torch.zeros(3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MotionTubeMask(frames=91), r"masking\.frames: found 91, expected a multiple of masking\.patch = 3"),
        (lambda: MotionTubeMask(tube=4), r"masking\.tube: found 4, expected a divisor of the 30 segments \(90 frames"),
        (lambda: MotionTubeMask(ratio=0.99), r"masking\.ratio: found 0\.99, which leaves 0 of 25 joints visible"),
        (lambda: MotionTubeMask(ratio=0.0), r"leaves 25 of 25 joints visible, expected 1 to 24"),
        (lambda: MotionTubeMask(beta=-0.1), r"masking\.beta: found -0\.1"),
        (lambda: MotionGumbelMask(tau=0.0), r"masking\.tau: found 0\.0, expected a number above 0"),
        (lambda: MotionGumbelMask(frames=4), "expected at least two segments of 4"),
        (lambda: RandomMask(ratio=0.9999), "leaves 0 of 750 tokens visible"),
        (
            lambda: RandomMask(keep=750),
            r"masking\.keep: found 750, which leaves 750 of 750 tokens visible, expected 1 to",
        ),
        (lambda: MotionGumbelMask(keep=0), r"masking\.keep: found 0, which leaves 0 of 750 tokens visible"),
    ],
)
def test_mistakes_are_named_at_construction(build: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_a_mistake_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match=r"masking\.tube: found 4"):
        MotionTubeMask(tube=4)


def test_noise_is_drawn_where_the_generator_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def rand(shape: tuple[int, ...], *, generator: Any, dtype: torch.dtype, device: Any) -> Tensor:
        seen.append(device)
        return torch.zeros(shape, dtype=dtype)

    monkeypatch.setattr(torch, "rand", rand)
    elsewhere = SimpleNamespace(device=torch.device("meta"))
    for source in (elsewhere, None):
        token_noise(clips("walk", n=1), (5,), source, None)
    assert seen == [torch.device("meta"), "cpu"]


def test_any_layout() -> None:
    for body in layouts():
        joints = len(load_layout(body).joints)
        x = torch.randn(2, 3, 12, joints, 2)
        check_partition(MotionTubeMask(layout=body, frames=12, patch=3, tube=2)(x), 4 * joints, 4 * kept(joints, 0.9))
        check_partition(MotionGumbelMask(layout=body, frames=12)(x), 3 * joints, kept(3 * joints, 0.9))
