import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.pretrained.features import Features, evaluating, extract, merge, probe_split


class Encoder(nn.Module):
    """Small, but with all that could leak: BatchNorm, dropout, and a draw from the global state even in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, (3, 1))
        self.drop = nn.Dropout(0.5)
        self.restless = False

    def forward(self, x: Tensor, ignore: tuple[int, ...] = ()) -> Tensor:
        if self.restless:
            torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        keep = [v for v in range(x.shape[3]) if v not in ignore]
        y: Tensor = self.drop(self.conv(self.norm(x[:, :, :, keep].flatten(3)))).mean((2, 3))
        return y


class Crops(nn.Module):
    """K clips a sample: the original, shifted by 1, 2, ... and by a draw from the given generator when asked to."""

    def __init__(self, clips: int = 1, noise: float = 0.0) -> None:
        super().__init__()
        self.clips, self.noise = clips, noise

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        shift = torch.arange(self.clips, dtype=torch.float32) + self.noise * torch.rand(1, generator=generator)
        return (batch.x[:, None] + shift.view(1, -1, 1, 1, 1, 1)).flatten(0, 1)


def batch(rows: list[int]) -> Batch:
    x = torch.stack([torch.randn(3, 6, 5, 2, generator=torch.Generator().manual_seed(row)) for row in rows])
    index = torch.tensor(rows)
    return Batch(x, torch.full((len(rows),), 6), index % 3, index)


def batches(*rows: list[int]) -> list[Batch]:
    return [batch(r) for r in rows]


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    made = Encoder()
    made.norm.running_mean.uniform_(-1, 1)
    return made


def test_features_are_those_of_evaluation_mode(encoder: Encoder) -> None:
    got = extract(encoder.train(), Crops(3), batches([4, 1], [0, 2, 3]), device="cpu")
    assert got.x.shape == (5, 3, 4)
    assert got.index.tolist() == [0, 1, 2, 3, 4]
    assert got.label.tolist() == [0, 1, 2, 0, 1]
    encoder.eval()
    for n in range(5):
        for k in range(3):
            with torch.no_grad():
                torch.testing.assert_close(got.x[n, k], encoder(batch([n]).x + k)[0])


def test_many_clips_a_sample_are_encoded_a_few_at_a_time(encoder: Encoder) -> None:
    seen = []
    encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    extract(encoder, Crops(4), batches([4, 1], [0, 2, 3]), device="cpu")
    assert seen == [2] * 4 + [3] * 4


def test_the_encoder_and_all_random_states_are_left_alone(encoder: Encoder) -> None:
    encoder.restless = True
    encoder.train()
    encoder.norm.eval()  # frozen on purpose by somebody
    view = Crops()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [m.training for m in encoder.modules()]
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    expected = torch.rand(4), np.random.rand(4), random.random()  # noqa: NPY002
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002

    def shuffled() -> Iterator[Batch]:
        for rows in DataLoader(list(range(8)), batch_size=3, shuffle=True):
            random.random(), np.random.rand()  # noqa: NPY002
            yield batch(rows.tolist())

    got = extract(encoder, view, shuffled(), device="cpu")
    assert got.index.tolist() == list(range(8))
    assert torch.equal(torch.rand(4), expected[0])
    np.testing.assert_array_equal(np.random.rand(4), expected[1])  # noqa: NPY002
    assert random.random() == expected[2]
    assert [m.training for m in encoder.modules()] == modes
    assert view.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())


def test_modes_come_back_after_an_error(encoder: Encoder) -> None:
    encoder.train()
    with pytest.raises(IndexError), evaluating(encoder):
        encoder(torch.zeros(1))
    assert encoder.drop.training


def test_a_view_that_draws_is_repeatable_and_the_seed_matters(encoder: Encoder) -> None:
    data = batches([0, 1, 2], [3, 4])
    once, again, other = (extract(encoder, Crops(2, noise=1.0), data, device="cpu", seed=s).x for s in (7, 7, 8))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_ignored_joints_do_not_count(encoder: Encoder) -> None:
    plain, moved = batch([0, 1]), batch([0, 1])
    moved.x[:, :, :, 2] += 100
    got = [extract(encoder, Crops(), [b], device="cpu", ignore=(2,)).x for b in (plain, moved)]
    assert torch.equal(*got)
    assert not torch.equal(got[0], extract(encoder, Crops(), [plain], device="cpu").x)


def test_rows_of_a_padded_loader_count_once(encoder: Encoder) -> None:
    """Two ranks of a distributed sampler over five samples: the second gets sample 0 again to be as long."""
    whole = extract(encoder, Crops(), batches([0, 1, 2, 3, 4]), device="cpu")
    ranks = [extract(encoder, Crops(), batches(r), device="cpu") for r in ([0, 2, 4], [1, 3, 0])]
    for got in (merge(ranks), extract(encoder, Crops(), batches([0, 2, 4], [1, 3, 0]), device="cpu")):
        assert torch.equal(got.index, whole.index)
        torch.testing.assert_close(got.x, whole.x)


def test_features_can_be_trained_on_and_bf16_is_close(encoder: Encoder) -> None:
    exact = extract(encoder, Crops(), batches([0, 1, 2]), device="cpu")
    half = extract(encoder, Crops(), batches([0, 1, 2]), device="cpu", precision="bf16")
    assert half.x.dtype == torch.float32
    assert 0 < (half.x - exact.x).abs().max() < 0.05
    weight = torch.zeros(4, 3, requires_grad=True)
    F.cross_entropy(exact.x[:, 0] @ weight, exact.label).backward()
    assert weight.grad is not None


def test_mistakes_are_named(encoder: Encoder) -> None:
    with pytest.raises(UserError, match=r"precision: found 'fp8', expected one of fp32, bf16"):
        extract(encoder, Crops(), batches([0]), device="cpu", precision="fp8")
    with pytest.raises(UserError, match="found no clip"):
        extract(encoder, Crops(), [], device="cpu")
    data = batches([5, 6], [7, 8])
    data[1].x[0] = torch.inf
    with pytest.raises(UserError, match=r"features for 1 of 4 clips \(first row 7\)"):
        extract(encoder, Crops(), data, device="cpu")


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(1, 6), st.integers(1, 4), st.integers(2, 80), st.integers(0, 99))
def test_probe_split(n: int, people: int, classes: int, max_clips: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    label, subject = (torch.randint(0, high, (n,), generator=g) for high in (classes, people))
    gallery, query = probe_split(label, subject, max_clips=max_clips, seed=seed)
    assert len(gallery) > 0
    assert len(query) > 0
    both = torch.cat([gallery, query])
    assert len(both.unique()) == len(both) <= max_clips
    assert torch.equal(gallery, gallery.sort().values)
    assert torch.equal(query, query.sort().values)
    if len(subject.unique()) > 1:
        assert not set(subject[gallery].tolist()) & set(subject[query].tolist())
    if max_clips >= n and len(subject.unique()) == 1:
        assert len(both) == n
        for c in label.unique():
            clips, asking = int((label == c).sum()), int((label[query] == c).sum())
            assert asking == (clips + 2) // 4 or clips == 1


def test_probe_split_of_eight_people_asks_two_and_keeps_classes_even() -> None:
    subject = torch.arange(8).repeat_interleave(30)
    label = torch.where(torch.arange(240) % 30 < 27, 0, 1)  # nine to one
    gallery, query = probe_split(label, subject, max_clips=None, seed=0)
    assert (len(subject[query].unique()), len(query), len(gallery)) == (2, 60, 180)
    gallery, query = probe_split(label, subject, max_clips=16, seed=0)
    assert label[gallery].bincount().tolist() == [6, 6]
    assert label[query].bincount().tolist() == [2, 2]
    again = probe_split(label, subject, max_clips=16, seed=0)
    assert torch.equal(again[0], gallery)
    assert not torch.equal(probe_split(label, subject, max_clips=16, seed=1)[0], gallery)


def test_probe_split_needs_two_clips() -> None:
    with pytest.raises(UserError, match=r"probe\.max_clips: found 1 usable"):
        probe_split(torch.zeros(5), torch.zeros(5), max_clips=1, seed=0)


def test_take_keeps_rows_together() -> None:
    whole = Features(torch.arange(3.0).view(3, 1, 1), torch.tensor([5, 6, 7]), torch.tensor([10, 20, 30]))
    part = whole.take(torch.tensor([2, 0]))
    assert (part.x.flatten().tolist(), part.label.tolist(), part.index.tolist()) == ([2.0, 0.0], [7, 5], [30, 10])
    assert len(part) == 2
