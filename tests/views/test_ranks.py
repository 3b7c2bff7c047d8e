"""A clip meets the same random numbers on any number of ranks, in every view and masker of a method."""

import pytest
import torch

from skelssl.data.batch import Batch
from skelssl.maskers.motion_gumbel import MotionGumbelMask
from skelssl.maskers.motion_tube import MotionTubeMask
from skelssl.runtime.draws import clip_generator, shard, step_generator
from skelssl.views.masked import CropView
from skelssl.views.pstl import PSTLView
from skelssl.views.skeleton_contrast import ContrastView
from skelssl.views.uniform import SampledView

FRAMES = 12
VIEWS = [
    PSTLView(granularity="sample"),
    ContrastView(frames=FRAMES, min_frames=4),
    CropView(frames=FRAMES, minimum=4),
    SampledView(frames=FRAMES),
]
MASKERS = [MotionGumbelMask(frames=FRAMES), MotionTubeMask(frames=FRAMES, tube=2)]


def batch(clips):
    x = torch.randn(7, 3, 20, 25, 2, generator=torch.Generator().manual_seed(0))
    n = torch.arange(7)
    return Batch(*(part[clips] for part in (x, 14 + n, n, n)))


def on_ranks(function, world):
    """``function(batch, generator)`` on each of ``world`` ranks, put together."""
    shares = [shard(7, rank, world) for rank in range(world)]
    return torch.cat([function(batch(mine), clip_generator(3, 1, 2, 7, mine)) for mine in shares])


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: type(view).__name__)
def test_views(view):
    def twice(clips, generator):  # the second draw starts where the first one left the generator
        return torch.cat([view(clips, generator), view(clips, generator)], 1)

    whole = twice(batch(slice(None)), step_generator(3, 1, 2, 0))
    assert torch.equal(on_ranks(twice, 2), whole)
    assert torch.equal(on_ranks(twice, 3), whole)
    assert not torch.equal(twice(batch(slice(None)), step_generator(3, 1, 3, 0)), whole)


@pytest.mark.parametrize("masker", MASKERS, ids=lambda masker: type(masker).__name__)
def test_maskers(masker):
    def masks(clips, generator):
        several = clips.x[:, :, :FRAMES].repeat_interleave(2, 0)  # two masks of each clip
        return masker(several, generator).visible

    whole = masks(batch(slice(None)), step_generator(3, 1, 2, 0))
    assert torch.equal(on_ranks(masks, 2), whole)
    assert torch.equal(on_ranks(masks, 3), whole)
