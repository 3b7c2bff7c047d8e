"""What methods share for pictures: a clip as long as the grid, and a mask as a grid of each person."""

import torch
from torch.nn.functional import interpolate

from skelssl.maskers.tokens import RandomMask
from skelssl.methods.visualize import hidden_tokens, resized


def test_resized_is_the_interpolation_of_the_whole_clip() -> None:
    x = torch.randn(2, 3, 17, 5, 2, dtype=torch.float64)
    series = x.movedim(2, -1).flatten(1, 3)  # (N, C·V·M, T)
    for frames in (8, 17, 60):
        expected = interpolate(series, size=frames, mode="linear").unflatten(1, (3, 5, 2)).movedim(-1, 2)
        torch.testing.assert_close(resized(x, frames), expected)


def test_hidden_tokens_are_at_their_segment_and_joint() -> None:
    clip = torch.randn(1, 3, 12, 25, 2)
    mask = RandomMask(frames=12)(clip, torch.Generator().manual_seed(0))
    shown = hidden_tokens("some", clip, mask)
    expected = torch.ones(2, 3, 25, dtype=torch.bool)
    for person, tokens in enumerate(mask.visible.tolist()):
        for token in tokens:
            expected[person, token // 25, token % 25] = False
    assert (shown.title, shown.clip) == ("some", clip)
    assert torch.equal(shown.tokens, expected)
