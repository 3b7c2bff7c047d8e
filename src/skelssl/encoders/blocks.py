"""Blocks, position embeddings and initialisation shared by encoder and decoder of the masked transformers.

Dosovitskiy et al., ViT, ICLR 2021 (arXiv 2010.11929), pre-norm; LayerScale: Touvron et al., CaiT, ICCV 2021
(arXiv 2103.17239); stochastic depth: Huang et al., ECCV 2016 (arXiv 1603.09382).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skelssl.core.errors import UserError

INITS = ("xavier", "normal")


class Attention(nn.Module):
    """Multi-head self-attention over all tokens of a sequence, with scale 1/√(D/heads) and without dropout."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Let the tokens (B, l, D) of each sequence attend to one another -> (B, l, D)."""
        q, k, v = rearrange(self.qkv(x), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(rearrange(y, "b h l d -> b l (h d)"))
        return out


class TransformerBlock(nn.Module):
    """Pre-norm block: x += γ₁ Attention(LN x), then x += γ₂ MLP(LN x), with exact GELU.

    Args:
        dim: width D.
        heads: attention heads, a divisor of D.
        mlp_ratio: hidden width of the MLP over D.
        layer_scale: initial value of γ₁ and γ₂ (D,); None omits them.
        drop_path: probability that a sequence skips a branch in training (stochastic depth).
        eps: epsilon of both LayerNorms.
    """

    gamma1: nn.Parameter | None
    gamma2: nn.Parameter | None

    def __init__(
        self, dim: int, heads: int, *, mlp_ratio: float, layer_scale: float | None, drop_path: float, eps: float
    ) -> None:
        super().__init__()
        width = int(dim * mlp_ratio)
        self.drop_path = drop_path
        self.norm1, self.attn = nn.LayerNorm(dim, eps), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps)
        mlp = OrderedDict(fc1=nn.Linear(dim, width), act=nn.GELU(), fc2=nn.Linear(width, dim))
        self.mlp = nn.Sequential(mlp)
        for name in ("gamma1", "gamma2"):
            value = None if layer_scale is None else nn.Parameter(torch.full((dim,), float(layer_scale)))
            self.register_parameter(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both branches to tokens (B, l, D) -> (B, l, D)."""
        x = x + self._branch(self.attn(self.norm1(x)), self.gamma1)
        return x + self._branch(self.mlp(self.norm2(x)), self.gamma2)

    def _branch(self, y: Tensor, gamma: Tensor | None) -> Tensor:
        if gamma is not None:
            y = y * gamma
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            y = y * (y.new_empty(len(y), 1, 1).bernoulli_(keep) / keep)
        return y


class Positions(nn.Module):
    """Learnable position embeddings of a grid (S, V): one vector per segment plus one per joint."""

    def __init__(self, grid: Sequence[int], dim: int) -> None:
        super().__init__()
        self.time, self.space = (nn.Parameter(0.02 * torch.randn(size, dim)) for size in grid)

    def forward(self, index: Tensor | None = None) -> Tensor:
        """Return the embeddings of all tokens (L, D), or those of tokens ``index`` (B, l): (B, l, D)."""
        table = (self.time[:, None] + self.space).flatten(0, 1)
        return table if index is None else F.embedding(index, table)


def stack(
    dim: int, heads: int, drop_paths: Sequence[float], *, mlp_ratio: float, layer_scale: float | None, eps: float
) -> nn.ModuleList:
    """Return one block per entry of ``drop_paths``; raise UserError if ``heads`` does not divide ``dim``."""
    if heads < 1 or dim % heads:
        raise UserError(f"hidden: found {dim}, expected a multiple of heads = {heads}")
    return nn.ModuleList(
        TransformerBlock(dim, heads, mlp_ratio=mlp_ratio, layer_scale=layer_scale, drop_path=rate, eps=eps)
        for rate in drop_paths
    )


def initialise(module: nn.Module, init: str) -> None:
    """Initialise every linear layer in ``module``: weights ``xavier`` uniform or ``normal`` (std 0.02), biases 0.

    Raises UserError for another ``init``.
    """
    if init not in INITS:
        raise UserError(f"init: found {init!r}, expected one of {', '.join(INITS)}")
    for part in module.modules():
        if isinstance(part, nn.Linear):
            if init == "xavier":
                nn.init.xavier_uniform_(part.weight)
            else:
                nn.init.normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
