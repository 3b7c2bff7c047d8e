"""Figures of masks: of the clip that the mask was drawn for, else of the one that was given."""

import torch

from skelssl.methods.visualize import MaskedClip
from skelssl.pages.clip_figures import mask_players


def test_masks_become_figures() -> None:
    given, resized = torch.randn(1, 3, 7, 25, 2), torch.randn(1, 3, 4, 25, 2)
    hidden = torch.rand(2, 2, 25) < 0.5
    shown = [
        MaskedClip("joints", dropped_joints=[4]),
        MaskedClip("frames", kept_frames=[0, 6]),
        MaskedClip("tokens", clip=resized, tokens=hidden),
    ]
    joints, frames, tokens = mask_players(shown, given)
    assert (joints.title, joints.dropped_joints, joints.kept_frames, joints.tokens) == ("joints", [4], None, None)
    assert (frames.dropped_joints, frames.kept_frames) == ((), [0, 6])
    assert (tokens.tokens == hidden.numpy()).all()
    for figure, x in ((joints, given), (frames, given), (tokens, resized)):
        assert figure.x.shape == (x.shape[2], 25, 3, 2)
        assert figure.x[1, 5, 2, 0] == x[0, 2, 1, 5, 0]
