"""Motion-attention temporal masking: the reference's numbers, a naive oracle and properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelssl.core.errors import UserError
from skelssl.maskers.motion_attention import MotionAttentionMask


def clips(n: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, frames, 5, 2, generator=torch.Generator().manual_seed(seed))


def test_reference_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor([[0, 1, 3, 3.5, 5, 5.25, 8, 8.1], [0, 0.1, 0.3, 2.3, 2.4, 4.4, 4.5, 4.55]]).view(2, 1, 8, 1, 1)
    monkeypatch.setattr(torch, "randperm", lambda n, generator: torch.tensor([5, 0, 3, 1, 4, 2]))
    out = MotionAttentionMask(k_motion=2, k_random=2)(x)
    assert out[:, 0, :, 0, 0].tolist() == [
        pytest.approx([0, 3, 5, 8.1]),
        pytest.approx([0, 0.1, 4.4, 4.55]),
    ]


def test_first_stage_equals_a_naive_search() -> None:
    x = clips(4, 12)
    kept = MotionAttentionMask(k_motion=5, k_random=0).kept(x)
    for n in range(4):
        speed = [float((x[n, :, t + 1] - x[n, :, t]).square().mean()) for t in range(11)] + [0.0]
        fastest = sorted(range(12), key=lambda t: -speed[t])[:5]
        assert kept[n].tolist() == [t for t in range(12) if t not in fastest]


@given(
    n=st.integers(1, 3),
    k_motion=st.integers(0, 4),
    k_random=st.integers(0, 4),
    rest=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
def test_properties(n: int, k_motion: int, k_random: int, rest: int, seed: int) -> None:
    frames = k_motion + k_random + rest
    x, mask = clips(n, frames, seed), MotionAttentionMask(k_motion=k_motion, k_random=k_random)
    kept = mask.kept(x, torch.Generator().manual_seed(seed))
    assert kept.shape == (n, rest)
    assert (kept.diff(dim=1) > 0).all()
    assert ((kept >= 0) & (kept < frames)).all()
    slow = MotionAttentionMask(k_motion=k_motion, k_random=0).kept(x)
    assert (slow[:, -1] == frames - 1).all()
    places = [[row.tolist().index(t) for t in some] for row, some in zip(slow, kept.tolist(), strict=True)]
    assert all(place == places[0] for place in places)  # the second stage is one draw for the batch
    out = mask(x, torch.Generator().manual_seed(seed))
    assert torch.equal(out, torch.stack([clip[:, index] for clip, index in zip(x, kept, strict=True)]))


def test_a_clip_that_stands_still_keeps_its_last_frame() -> None:
    kept = MotionAttentionMask(k_motion=3, k_random=0).kept(torch.zeros(1, 3, 8, 25, 2))
    assert kept.tolist() == [[0, 1, 2, 3, 7]]


def test_slow_frames_share_the_second_stage_evenly() -> None:
    x, generator = clips(1, 50), torch.Generator().manual_seed(0)
    count = torch.zeros(50)
    for _ in range(4_000):
        count[MotionAttentionMask().kept(x, generator)[0]] += 1
    assert int((count == 0).sum()) == 10
    assert ((count[count > 0] / 4_000 - 0.75).abs() < 5 * (0.75 * 0.25 / 4_000) ** 0.5).all()


def test_too_short_clips_and_wrong_counts() -> None:
    with pytest.raises(UserError, match=r"found clips of 20 frames, expected more than k_motion \+ k_random = 20"):
        MotionAttentionMask()(clips(1, 20))
    with pytest.raises(UserError, match=r"matm\.k_random: found -1, expected 0 or more"):
        MotionAttentionMask(k_random=-1)
