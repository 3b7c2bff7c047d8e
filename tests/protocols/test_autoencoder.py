"""The auto-encoder of retrieval: its shape and schedule, what it sees, and that codes keep what tells clips apart."""

from __future__ import annotations

import pytest
import torch

from skelssl.pretrained.features import Features
from skelssl.protocols import autoencoder
from skelssl.protocols.autoencoder import autoencoder_codes, train_autoencoder
from skelssl.protocols.knn import knn


def sides() -> tuple[Features, Features]:
    """Three classes along a line in 6 dimensions, two clips a sample."""
    g = torch.Generator().manual_seed(0)
    found = []
    for n in (48, 24):
        label = torch.arange(n) % 3
        x = label.view(-1, 1, 1) * torch.tensor([1.0, -1, 0.5, 0, 0, 1]) + 0.2 * torch.randn(n, 2, 6, generator=g)
        found.append(Features(0.3 * x, label, torch.arange(n)))
    return found[0], found[1]


def test_shape_and_repeatability() -> None:
    train, test = sides()
    before = torch.get_rng_state()
    gallery, queries = autoencoder_codes(train, test, seed=3, epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert (gallery.x.shape, queries.x.shape) == ((48, 1, 125), (24, 1, 125))
    assert torch.equal(gallery.label, train.label)
    again, _ = autoencoder_codes(train, test, seed=3, epochs=2)
    other, _ = autoencoder_codes(train, test, seed=4, epochs=2)
    assert torch.equal(gallery.x, again.x)
    assert not torch.allclose(gallery.x, other.x)


def test_test_clips_do_not_train_it() -> None:
    train, test = sides()
    elsewhere = Features(test.x + 5, test.label, test.index)
    assert torch.equal(
        autoencoder_codes(train, test, 0, epochs=2)[0].x, autoencoder_codes(train, elsewhere, 0, epochs=2)[0].x
    )


def test_layers_are_the_published_ones() -> None:
    torch.manual_seed(0)
    layers = list(train_autoencoder(torch.randn(4, 6), epochs=0))
    assert [tuple(layer.weight.shape) for layer in layers[::2]] == [(1024, 6), (512, 1024), (125, 512)]
    assert all(isinstance(layer, torch.nn.Tanh) for layer in layers[1::2])
    assert (autoencoder.EPOCHS, autoencoder.BATCH, autoencoder.LR) == (400, 64, 1e-3)


def test_the_rate_falls_every_fifty_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    monkeypatch.setattr(autoencoder, "WIDTHS", (4, 2))
    train_autoencoder(torch.randn(130, 3), epochs=35)  # three steps an epoch
    assert [rates.index(rate) for rate in dict.fromkeys(rates)] == [0, 50, 100]
    assert rates[104] == pytest.approx(1e-3 * 0.95**2)


def test_codes_keep_what_tells_clips_apart() -> None:
    train, test = sides()
    scores = knn(*autoencoder_codes(train, test, 0, epochs=30), classes=3, k=1, temperature=None)
    assert scores.top1 > 0.8
