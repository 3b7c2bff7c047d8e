"""Maskers as public code writes them, on the noise that ours draw."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from skelssl.maskers.motion_attention import MotionAttentionMask
from skelssl.maskers.motion_gumbel import MotionGumbelMask
from skelssl.maskers.motion_tube import MotionTubeMask
from skelssl.maskers.tokens import TokenMask, token_noise


def gumbel(masker: MotionGumbelMask, x: Tensor, generator: torch.Generator) -> TokenMask:
    """MAMP's: all differences of segments in memory, softmax, and two sorts."""
    clips = rearrange(x, "n c (s l) v m -> (n m) s v (l c)", l=masker.patch)
    motion = (clips[:, 1:] - clips[:, :-1]).abs().mean(-1)
    motion = torch.cat([motion[:, :1], motion], 1).flatten(1)
    noise = token_noise(x, (motion.shape[1],), generator, None)
    p = torch.softmax(motion / (masker.tau * motion.max(1, keepdim=True).values + 1e-10), dim=1)
    keys = torch.log(p) - torch.log(-torch.log(noise + 1e-10) + 1e-10)
    return two_sorts(keys, masker.visible_tokens)


def two_sorts(keys: Tensor, keep: int) -> TokenMask:
    """The smallest keys stay; the mask is shuffled back by the order of the order."""
    order = keys.argsort(dim=1)
    mask = torch.ones_like(keys)
    mask[:, :keep] = 0
    mask = mask.gather(1, order.argsort(dim=1))
    return TokenMask(order[:, :keep], order[:, keep:], mask.bool())


def tube(masker: MotionTubeMask, x: Tensor, generator: torch.Generator) -> TokenMask:
    """Skeleton2vec's: tube by tube and segment by segment."""
    groups, joints, keep = masker.segments // masker.tube, masker.joints, masker.visible_joints
    noise = token_noise(x, (groups, joints), generator, None)
    clips = rearrange(x, "n c t v m -> (n m) t v c")
    change = torch.zeros_like(clips)
    change[:, :-1] = (clips[:, 1:] - clips[:, :-1]).abs()
    visible, hidden = [], []
    for g, part in enumerate(change.split(masker.patch * masker.tube, 1)):
        motion = part.mean((1, 3))
        scores = noise[:, g] + masker.beta * motion / (motion.max(1, keepdim=True).values + 1e-6)
        order = scores.argsort(dim=1)
        for segment in range(g * masker.tube, (g + 1) * masker.tube):
            visible.append(segment * joints + order[:, :keep])
            hidden.append(segment * joints + order[:, keep:])
    stays, goes = torch.cat(visible, 1), torch.cat(hidden, 1)
    mask = torch.ones(len(stays), masker.segments * joints, dtype=torch.bool, device=x.device)
    return TokenMask(stays, goes, mask.scatter_(1, stays, False))


def frames(masker: MotionAttentionMask, x: Tensor, generator: torch.Generator) -> Tensor:
    """PSTL's MATM, clip by clip: without its fastest frames, then without those drawn for all."""
    speed = ((x[:, :, 1:] - x[:, :, :-1]) ** 2).mean((1, 3, 4))
    speed = torch.cat([speed, torch.full_like(speed[:, :1], -1.0)], 1)
    slow = x.shape[2] - masker.k_motion
    places = torch.randperm(slow, generator=generator)[: slow - masker.k_random].sort().values.to(x.device)
    clips = []
    for clip, own in zip(x, speed, strict=True):
        stays = own.argsort(stable=True)[:slow].sort().values
        clips.append(clip[:, stays][:, places])
    return torch.stack(clips)
