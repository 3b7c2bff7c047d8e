import pytest
import torch

from skelssl.methods.build import build_method
from skelssl.methods.visualize import MaskedClip, mask_metrics
from skelssl.training.callbacks.masks import masked_clips
from skelssl.training.trainer import build_data
from tests.helpers.config import train_config

T, V = 6, 5


@pytest.fixture
def clip():
    """(1, 3, T, V, 2) whose second person is absent."""
    x = torch.randn(1, 3, T, V, 2, generator=torch.Generator().manual_seed(0))
    x[..., 1] = 0
    return x


def naive(x, is_hidden, joints):
    """Share and motion ratio, place by place."""
    places = [(t, v) for t in range(T) for v in joints]
    steps = {
        (t, v): 0.0 if t == 0 else float((x[0, :, t, v, 0] - x[0, :, t - 1, v, 0]).square().sum().sqrt())
        for t, v in places
    }
    gone = [place for place in places if is_hidden(*place)]
    of_gone = sum(steps[place] for place in gone) / len(gone)
    return len(gone) / len(places), of_gone / (sum(steps.values()) / len(places))


def test_dropped_joints(clip):
    share, motion = mask_metrics(MaskedClip("", dropped_joints=[1, 3, 3]), clip)
    assert (share, motion) == pytest.approx(naive(clip, lambda t, v: v in (1, 3), range(V)))


def test_kept_frames(clip):
    share, motion = mask_metrics(MaskedClip("", kept_frames=[0, 4]), clip)
    assert (share, motion) == pytest.approx(naive(clip, lambda t, v: t not in (0, 4), range(V)))


def test_tokens_of_joints_that_an_encoder_has(clip):
    tokens = torch.zeros(2, 3, V, dtype=torch.bool)  # of two frames each
    tokens[0, 1, 2] = tokens[0, 2, 0] = True
    tokens[:, :, 4] = True  # never seen
    tokens[1] = True  # the absent person counts for nothing
    share, motion = mask_metrics(MaskedClip("", tokens=tokens, clip=clip, dropped_joints=[4]), torch.zeros(1))
    assert (share, motion) == pytest.approx(naive(clip, lambda t, v: (t // 2, v) in ((1, 2), (2, 0)), range(4)))


@pytest.mark.parametrize(
    ("method", "shares"),
    [("pstl", {"csm": (1 / 25, 8 / 25), "matm": (0.4, 0.4)}), ("skeleton_contrast", {}),
     ("mamp", {"tokens": (68 / 75, 68 / 75)}), ("skeleton2vec", {"tokens": (0.92, 0.92)}),
     ("ha_cm", {"tokens": (11 / 12, 11 / 12)})],
)  # fmt: skip
def test_every_method_says_what_it_hides_and_stays_as_it_is(data_root, method, shares):
    config = train_config(data_root, f"method={method}")
    module = build_method(config).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    random = torch.get_rng_state()
    found = {}
    for x, shown in masked_clips(module, build_data(config), 4):
        found |= {mask.name: float(mask_metrics(mask, x)[0]) for mask in shown if mask.name}
    assert found.keys() == shares.keys()
    for name, (low, high) in shares.items():
        assert low - 1e-6 <= found[name] <= high + 1e-6, name
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert module.training
