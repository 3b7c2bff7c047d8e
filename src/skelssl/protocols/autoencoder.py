"""Encode frozen features with an auto-encoder before retrieval, as skeleton-contrast's public code does beside 1-NN.

Thoker et al., ACM MM 2021 (arXiv 2108.03656), after Su et al., Predict and Cluster, CVPR 2020 (arXiv 1911.12409).
Which of the two accuracies the paper prints is not known.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.pretrained.features import Features, same_random_state

WIDTHS = (1024, 512, 125)
EPOCHS, BATCH, LR = 400, 64, 1e-3
GAMMA, EVERY = 0.95, 50  # the learning rate falls every so many steps, not epochs


def autoencoder_codes(train: Features, test: Features, seed: int, *, epochs: int = EPOCHS) -> tuple[Features, Features]:
    """Return the codes of training and test features under an auto-encoder that is trained on the training features.

    Its layers are D - 1024 - 512 - 125 with Tanh after each, and their mirror image; the loss is the mean squared
    error, the optimiser Adam. The K clips of a sample are averaged first. The global random state stays as it is.

    Args:
        train: Features (N, K, D) of the training clips.
        test: Features (N', K, D) of the test clips; they are only encoded.
        seed: Decides the initial weights and the order of the samples.
        epochs: How often the training features are visited.

    Returns:
        The codes (N, 1, 125) and (N', 1, 125).
    """
    gallery, queries = train.averaged(), test.averaged()
    with same_random_state(gallery.x.device), torch.enable_grad():
        torch.manual_seed(seed)
        encoder = train_autoencoder(gallery.x[:, 0], epochs)
    with torch.no_grad():
        found = [Features(encoder(side.x), side.label, side.index) for side in (gallery, queries)]
    return found[0], found[1]


def train_autoencoder(x: Tensor, epochs: int) -> nn.Module:
    """Train an auto-encoder on features (N, D) and return its encoding half, (N, D) -> (N, 125)."""
    widths = (x.shape[1], *WIDTHS)
    encoder, decoder = _layers(widths).to(x), _layers(widths[::-1]).to(x)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LR)
    rate = torch.optim.lr_scheduler.StepLR(optimiser, EVERY, GAMMA)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x)).to(x.device), BATCH):
            optimiser.zero_grad()
            F.mse_loss(decoder(encoder(x[rows])), x[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
    return encoder


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(*(part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.Tanh())))
