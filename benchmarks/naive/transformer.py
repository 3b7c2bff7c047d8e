"""MAMP's forward pass written naively: all tokens embedded, explicit softmax attention, concatenate, gather.

The modules are those of skelssl, so both forms have the same weights; only the arithmetic's order differs.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.encoders.blocks import Attention, TransformerBlock
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.tokens import patchify, take_tokens
from skelssl.encoders.transformer import Transformer


def attention(module: Attention, x: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v, the (B, heads, l, l) matrix in memory."""
    q, k, v = rearrange(module.qkv(x), "b l (three h d) -> three b h l d", three=3, h=module.heads)
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    out: Tensor = module.proj(rearrange(weights @ v, "b h l d -> b l (h d)"))
    return out


def block(module: TransformerBlock, x: Tensor) -> Tensor:
    """One pre-norm block without DropPath."""
    gamma1, gamma2 = (1.0 if gamma is None else gamma for gamma in (module.gamma1, module.gamma2))
    x = x + gamma1 * attention(module.attn, module.norm1(x))
    out: Tensor = x + gamma2 * module.mlp(module.norm2(x))
    return out


def blocks(modules: nn.ModuleList, x: Tensor) -> Tensor:
    for module in modules:
        assert isinstance(module, TransformerBlock)
        x = block(module, x)
    return x


def encode(encoder: Transformer, x: Tensor, keep: Tensor) -> Tensor:
    """Clips (N, C, T, V, M) -> encoded tokens ``keep`` (N·M, l): every token is embedded, then some are gathered."""
    tokens = encoder.patch_embed(patchify(x, encoder.patch))
    tokens = tokens + rearrange(encoder.positions.time[:, None] + encoder.positions.space, "s v d -> (s v) d")
    out: Tensor = encoder.norm(blocks(encoder.blocks, take_tokens(tokens, keep)))
    return out


def decode(decoder: Decoder, tokens: Tensor, order: Tensor) -> Tensor:
    """Encoded tokens of the first places of ``order`` (B, L) -> predictions (B, L, out) for all tokens."""
    visible = decoder.embed(tokens)
    filler = decoder.mask_token.expand(len(visible), order.shape[1] - visible.shape[1], -1)
    x = take_tokens(torch.cat([visible, filler], dim=1), order.argsort(dim=1))
    x = x + rearrange(decoder.positions.time[:, None] + decoder.positions.space, "s v d -> (s v) d")
    out: Tensor = decoder.head(decoder.norm(blocks(decoder.blocks, x)))
    return out


def loss(prediction: Tensor, x: Tensor, patch: int, mask: Tensor) -> Tensor:
    """Motion of all tokens as targets, an average weighted by the mask."""
    motion = torch.zeros_like(x)
    motion[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    target = patchify(motion, patch)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (prediction - target).square().mean(-1)
    return (error * mask).sum() / mask.sum()
