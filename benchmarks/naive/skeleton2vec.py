"""Skeleton2vec's targets, loss and teacher written naively: every person, every block's output kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from benchmarks.naive import transformer as naive
from skelssl.encoders.tokens import patchify
from skelssl.encoders.transformer import Transformer


@torch.no_grad()
def targets(teacher: Transformer, x: Tensor) -> Tensor:
    """Clips (N, C, T, V, M) -> targets of all tokens of all persons (N·M, L, D)."""
    tokens = teacher.patch_embed(patchify(x, teacher.patch))
    tokens = tokens + rearrange(teacher.positions.time[:, None] + teacher.positions.space, "s v d -> (s v) d")
    outputs = []
    for block in teacher.blocks:
        tokens = naive.block(block, tokens)  # type: ignore[arg-type]
        outputs.append(tokens)
    normed = [F.instance_norm(h.transpose(1, 2)).transpose(1, 2) for h in outputs]
    mean = torch.stack(normed).mean(0)
    return F.layer_norm(mean, mean.shape[-1:])


def loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Errors of all tokens, an average weighted by the mask."""
    error = (prediction - target).square().mean(-1)
    return (error * mask).sum() / mask.sum()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """The moving average as a new state dict that is loaded."""
    new = student.state_dict()
    teacher.load_state_dict(
        {key: momentum * old + (1 - momentum) * new[key] for key, old in teacher.state_dict().items()}
    )
