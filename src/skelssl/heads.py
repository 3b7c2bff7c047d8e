"""Heads that stand on an encoder during pre-training and are thrown away after it."""

from __future__ import annotations

from itertools import chain, repeat

import torch
from torch import Tensor, nn

from skelssl.errors import UserError


class Projector(nn.Module):
    """Barlow Twins' projector (Zbontar et al., ICML 2021): Linear-BN-ReLU, …, Linear, all Linear without bias.

    At PSTL's size (256 -> 6144, three layers) it has 77,094,912 parameters: three weights and two affine BatchNorms.

    Args:
        in_dim: feature width D of the encoder.
        dim: width of every layer.
        layers: number of Linear layers, at least 1.
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
        """(views·N, in_dim) -> (views·N, dim), not normalised.

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
