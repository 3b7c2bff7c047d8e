"""HA-CM's masking and loss written naively: scores inside the graph, every difference in memory, every token
embedded with gradient, two sorts a group, predictions of all tokens.

The modules are those of skelssl, so both forms have the same weights; only the arithmetic differs.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor

from skelssl.encoders.tokens import patchify
from skelssl.encoders.transformer import Transformer
from skelssl.maskers.hyperbolic import CrossMasker


def exp0(v: Tensor) -> Tensor:
    norm = v.norm(dim=-1, keepdim=True)
    return torch.tanh(norm) * v / norm.clamp(min=1e-12)


def cut(v: Tensor) -> Tensor:
    """Vectors no longer than the one whose point lies 1e-5 from the boundary, as the corrected form has it."""
    return v * (math.atanh(1 - 1e-5) / v.norm(dim=-1, keepdim=True)).clamp(max=1)


def distances(u: Tensor, v: Tensor, factor: float) -> Tensor:
    square = (u - v).square().sum(-1)  # of every pair, every coordinate in memory first
    return torch.acosh(1 + factor * square / ((1 - u.square().sum(-1)) * (1 - v.square().sum(-1))))


def embed(encoder: Transformer, x: Tensor) -> Tensor:
    """Clips (N, C, T', V, M) -> all tokens (B, S, V, D) in tangent space."""
    tokens = rearrange(encoder.patch_embed(encoder.patches(x)), "b (s v) d -> b s v d", v=encoder.grid[1])
    return tokens + encoder.positions.time[:, None] + encoder.positions.space


def order(masker: CrossMasker, score: Tensor, noise: Tensor) -> Tensor:
    """Scores (B, S/2, V) -> indices (B, S·V/2), those that stay first."""
    score = score.flatten(1)
    p = torch.softmax(score / (masker.tau * score.max(1, keepdim=True).values + 1e-10), dim=1)
    keys = torch.log(p) - torch.log(-torch.log(noise + 1e-10) + 1e-10)
    return keys.argsort(dim=1, descending=True)


def orders(
    masker: CrossMasker, encoder: Transformer, x: Tensor, tokens: Tensor, noise: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The order of the tokens of both groups; ``tokens`` are those of `embed`."""
    even, h = tokens[:, ::2], exp0(cut(tokens))[:, 1::2]
    logits = torch.einsum("btvd,buvd->bvtu", masker.l1(even), masker.l2(even)) * masker.scale
    attention = torch.softmax(logits, dim=1).sum(2).transpose(1, 2)
    trunk = rearrange(encoder.core_patches(x), "b (s v) p -> b s v p", s=encoder.grid[0])
    father = exp0(cut(encoder.patch_embed(trunk))).mean(2)[:, 1::2]
    factor = masker.dist_factor
    pairs = distances(h[:, :, :, None].expand(-1, -1, -1, h.shape[2], -1), h[:, :, None], factor)
    hierarchy = pairs.sum(-1) + masker.father_weight * distances(h, father[:, :, None], factor)
    return order(masker, attention, noise[0]), order(masker, hierarchy, noise[1])


def reconstruction(prediction: Tensor, x: Tensor, patch: int, mask: Tensor) -> Tensor:
    """Hyperbolic motion of all tokens as targets, an average weighted by the mask."""
    motion = torch.zeros_like(x)
    motion[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    target = patchify(exp0(motion.movedim(1, -1)).movedim(-1, 1), patch)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (prediction - target).square().mean(-1)
    return (error * mask).sum() / mask.sum()


def contrast(encoded: Tensor, k: int) -> Tensor:
    a, b, c = encoded[:, :k].mean(1), encoded[:, k:].mean(1), encoded.mean(1)
    eye = torch.eye(len(a), dtype=a.dtype, device=a.device)
    pairs = ((b, c), (a, c), (a, b))
    return torch.stack([(torch.softmax(p @ q.T, dim=1) - eye).square().mean() for p, q in pairs]).sum()
