"""Heads on top of an encoder: for pre-training, discarded after it, and for fine-tuning."""

from __future__ import annotations

from itertools import chain, repeat

import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.core.errors import UserError


class Projector(nn.Module):
    """Barlow Twins' projector (Zbontar et al., ICML 2021): Linear-BN-ReLU, …, Linear, all Linear without bias.

    At PSTL's size (256 -> 6144, three layers) it has 77,094,912 parameters: three weights and two affine BatchNorms.

    Args:
        in_dim: feature width D of the encoder.
        dim: width of every layer.
        layers: number of Linear layers, at least 1.

    Raises:
        UserError: for fewer than one layer.
    """

    def __init__(self, *, in_dim: int, dim: int = 6144, layers: int = 3) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"head.layers: found {layers}, expected at least 1")
        widths = chain([in_dim], repeat(dim))
        hidden = [
            (nn.Linear(next(widths), dim, bias=False), nn.BatchNorm1d(dim), nn.ReLU(inplace=True))
            for _ in range(layers - 1)
        ]
        self.projector = nn.Sequential(*chain.from_iterable(hidden), nn.Linear(next(widths), dim, bias=False))

    def forward(self, features: Tensor, views: int = 1) -> Tensor:
        """Project (views·N, in_dim) -> (views·N, dim), not normalised.

        With ``views`` > 1 the rows are that many equal batches, one after the other. They share each matrix product,
        and each has its own BatchNorm statistics: the same numbers as one call per view, in that order.
        """
        x = features
        for layer in self.projector:
            if isinstance(layer, nn.Linear | nn.ReLU):
                x = layer(x)
            else:
                x = torch.cat([layer(rows) for rows in x.chunk(views)])
        return x


class ContrastHead(nn.Module):
    """MoCo v2's projection head (Chen et al., 2020, arXiv 2003.04297): Linear(D, D), ReLU, Linear(D, dim), with bias.

    Args:
        in_dim: feature width D of the encoder.
        dim: width of the output, not normalised.
        mlp: without it the head is the last layer alone.
        last: initialisation of the last layer: ``xavier`` uniform weight; ``xavier_zero`` with zero bias too;
            ``normal`` weight of variance 2 / dim; ``default`` is torch's.

    Raises:
        UserError: for an unknown ``last``.
    """

    def __init__(self, *, in_dim: int, dim: int = 128, mlp: bool = True, last: str = "default") -> None:
        super().__init__()
        if last not in ("default", "xavier", "xavier_zero", "normal"):
            raise UserError(f"head.last: found {last!r}, expected one of default, xavier, xavier_zero, normal")
        self.dim = dim
        final = nn.Linear(in_dim, dim)
        if last.startswith("xavier"):
            nn.init.xavier_uniform_(final.weight)
        if last == "xavier_zero":
            nn.init.zeros_(final.bias)
        if last == "normal":
            nn.init.normal_(final.weight, std=(2 / dim) ** 0.5)
        self.fc = nn.Sequential(*([nn.Linear(in_dim, in_dim), nn.ReLU()] if mlp else []), final)

    def forward(self, features: Tensor) -> Tensor:
        """Project (N, in_dim) -> (N, dim)."""
        y: Tensor = self.fc(features)
        return y


class TokenHead(nn.Module):
    """The large head of fine-tuned transformers (MAMP, Skeleton2vec, HA-CM): dropout on the tokens, mean over segments,
    joints side by side, mean over persons, then Linear, BatchNorm, ReLU, Linear.

    At MAMP's size (25 joints of width 256, 60 classes) it has 13,236,284 parameters, twice the encoder's.

    Args:
        in_dim: joints times feature width, V·D.
        classes: width of the output.
        dim: width of the hidden layer.
        dropout: fraction of token entries set to 0 in training.
    """

    def __init__(self, *, in_dim: int, classes: int, dim: int = 2048, dropout: float = 0.3) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        hidden = (nn.Linear(in_dim, dim), nn.BatchNorm1d(dim), nn.ReLU(inplace=True))
        self.mlp = nn.Sequential(*hidden, nn.Linear(dim, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (N, M, S, V, D) -> logits (N, classes); an absent person counts in the mean."""
        joints = self.dropout(tokens).mean(2)
        y: Tensor = self.mlp(rearrange(joints, "n m v d -> n m (v d)").mean(1))
        return y
