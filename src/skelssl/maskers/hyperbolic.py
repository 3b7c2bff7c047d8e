"""Hierarchy and attention guided cross masking of HA-CM (Yin and Cao, 2024, arXiv 2409.17951).

Segments 1, 3, ... are scored by the hierarchy of their joints in a Poincaré ball, segments 0, 2, ... by their temporal
attention. A tenth of the tokens of each group stays visible, drawn by Gumbel-Max, so that one visible set holds two
views. The formulas are those of the public code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.core.errors import UserError, check_flag, check_number
from skelssl.encoders.poincare import Points, at, distance, expmap0, pairwise_distance, points, project
from skelssl.encoders.transformer import Transformer
from skelssl.maskers.motion_gumbel import gumbel_keys
from skelssl.maskers.tokens import check_finite, check_keep, kept, token_noise

LAYOUTS, KEEPS, AXES, SCALES = ("corrected", "reference"), ("high", "low"), ("joint", "time"), ("mul", "div")


class CrossMask(NamedTuple):
    """Two groups of K visible tokens, and the rows of the decoder's grid of L rows.

    In the corrected layout rows are tokens: ``rows`` equals ``visible``, and ``targets`` equals ``hidden``.
    """

    visible: Tensor  # (B, 2K) int64 tokens s·V + v, those of the attention group first
    rows: Tensor  # (B, 2K) rows of the decoder for ``visible``
    hidden: Tensor  # (B, L - 2K) rows that the loss reads
    targets: Tensor  # (B, L - 2K) tokens that those rows predict


class TokenScores(NamedTuple):
    """Scores that determine how likely a token stays visible; float32 or wider, without gradient."""

    attention: Tensor  # (B, S/2, V) of segments 0, 2, ...
    hierarchy: Tensor  # (B, S/2, V) of segments 1, 3, ...


class CrossMasker(nn.Module):
    """Scores a grid of tokens and leaves K tokens of each of the two groups visible.

    The bilinear form of the attention, ``l1`` and ``l2``, is randomly initialised and never trained: scores only order
    tokens, so no gradient reaches it. It is part of the method's state dict.

    Args:
        grid: (S, V) of the encoder, S even.
        dim: width D of the encoder's tokens.
        ratio: masking ratio of each group; K = int(S·V/2·(1 - ratio)), 21 of 216.
        tau: temperature of the Gumbel-Max draw.
        keep: ``high`` scores stay visible more often, as in the public code, or ``low`` ones.
        gumbel: add Gumbel noise; without it the K highest (lowest) scores stay visible.
        father_weight: weight of the distance to the trunk in the hierarchy score.
        curvature: c of the ball.
        dist_factor: 2 is the geodesic distance, 4 the factor of the public code.
        softmax_axis: ``joint``, as in the public code, or ``time``, as is usual for attention.
        attn_scale: logits times √D (``mul``, as in the public code) or divided by it (``div``).
        layout: ``corrected``, or ``reference``, the token order of the public code: hierarchy scores are assigned to
            other tokens, the K hierarchy tokens are placed among those of the attention, and rows predict other tokens
            than their own. It also computes 1 - c‖x‖² by subtraction.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        dim: int,
        ratio: float = 0.9,
        tau: float = 0.9,
        keep: str = "high",
        gumbel: bool = True,
        father_weight: float = 0.01,
        curvature: float = 1.0,
        dist_factor: float = 2.0,
        softmax_axis: str = "joint",
        attn_scale: str = "mul",
        layout: str = "corrected",
    ) -> None:
        super().__init__()
        segments, joints = grid
        if segments % 2:
            raise UserError(f"encoder.frames: found {segments} segments, expected an even number for two groups")
        choices = {"layout": (layout, LAYOUTS), "keep": (keep, KEEPS), "softmax_axis": (softmax_axis, AXES),
                   "attn_scale": (attn_scale, SCALES)}  # fmt: skip
        for key, (found, known) in choices.items():
            if found not in known:
                raise UserError(f"masking.{key}: found {found!r}, expected one of {', '.join(known)}")
        for key, value in {"tau": tau, "curvature": curvature, "dist_factor": dist_factor}.items():
            check_number(f"masking.{key}", value, "a number above 0", lambda v: v > 0)
        check_number("masking.father_weight", father_weight, "a number of at least 0", lambda v: v >= 0)
        check_number("masking.ratio", ratio, "a fraction from 0 to 1", lambda v: 0 <= v <= 1)
        check_flag("masking.gumbel", gumbel)
        half = segments // 2 * joints
        self.kept = kept(half, ratio)
        check_keep(f"ratio: found {ratio}", self.kept, half, "tokens of a group")
        self.tau, self.keep, self.gumbel, self.layout = tau, keep, gumbel, layout
        self.father_weight, self.curvature, self.dist_factor = father_weight, curvature, dist_factor
        self.softmax_axis, self.scale = softmax_axis, dim**0.5 if attn_scale == "mul" else dim**-0.5
        self.l1, self.l2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        for linear in (self.l1, self.l2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.requires_grad_(False)
        for name, order in token_orders(segments, joints, layout)._asdict().items():
            self.register_buffer(name, order, persistent=False)

    attention_tokens: Tensor
    hierarchy_tokens: Tensor
    row_targets: Tensor

    @torch.no_grad()
    def forward(
        self,
        encoder: Transformer,
        x: Tensor,
        generator: torch.Generator | None = None,
        *,
        noise: tuple[Tensor, Tensor] | None = None,
    ) -> CrossMask:
        """Draw the mask of B = N·M person-clips.

        Args:
            encoder: the transformer whose current embedding is scored.
            x: clips (N, C, T', V, M).
            generator: source of the uniform noise.
            noise: (B, S·V/2) each for attention and hierarchy, in place of the uniform draws.

        Raises:
            UserError: ``x`` has another shape, or NaN or infinite values on a CPU; ``noise`` has another shape.
        """
        check_finite(x)  # a NaN in the trunk would not reach the loss
        scores, half = self.scores(encoder, x), len(self.attention_tokens)
        if self.layout == "reference":  # both are flattened joint by joint, regardless of the token order
            scores = TokenScores(*(s.mT for s in scores))
        draws = [token_noise(x, (half,), generator, given) for given in noise or (None, None)]
        return self._mask(*(self._order(score, draw) for score, draw in zip(scores, draws, strict=True)))

    @torch.no_grad()
    def scores(self, encoder: Transformer, x: Tensor) -> TokenScores:
        """Score clips (N, C, T', V, M), in float32 even under autocast, as masks must not depend on the precision."""
        with torch.autocast(x.device.type, enabled=False):
            tokens = rearrange(encoder.tangent(encoder.patches(x)), "b (s v) d -> b s v d", v=encoder.grid[1])
            trunk = rearrange(encoder.core_patches(x), "b (s v) p -> b s v p", s=encoder.grid[0])
            even, odd = tokens[:, ::2], tokens[:, 1::2]
            attention = attention_scores(self.l1(even), self.l2(even), self.scale, self.softmax_axis)
            hierarchy = self._hierarchy(odd, encoder.patch_embed(trunk[:, 1::2]))
        return TokenScores(attention, hierarchy)

    def _hierarchy(self, tokens: Tensor, trunk: Tensor) -> Tensor:
        c = self.curvature
        if self.layout == "corrected":
            joints, parts = at(tokens, c), at(trunk, c).x
        else:
            joints, parts = points(project(expmap0(tokens, c), c), c), project(expmap0(trunk, c), c)
        return hierarchy_scores(joints, points(parts.mean(2), c), self.father_weight, c, self.dist_factor)

    def _order(self, score: Tensor, noise: Tensor) -> Tensor:
        """Sort scores (B, ., .) -> flat indices (B, S·V/2), the K visible ones first."""
        flat = score.flatten(1)
        keys = gumbel_keys(score, noise.to(flat), self.tau) if self.gumbel else flat
        return keys.argsort(dim=1, descending=self.keep == "high", stable=True)

    def _mask(self, attention: Tensor, hierarchy: Tensor) -> CrossMask:
        k, half = self.kept, attention.shape[1]
        visible = torch.cat([self.attention_tokens[attention[:, :k]], self.hierarchy_tokens[hierarchy[:, :k]]], 1)
        if self.layout == "corrected":
            hidden = torch.cat([self.attention_tokens[attention[:, k:]], self.hierarchy_tokens[hierarchy[:, k:]]], 1)
            return CrossMask(visible, visible, hidden, hidden)
        rows = torch.cat([attention, half + hierarchy], 1)[:, : 2 * k]
        hidden = torch.cat([attention[:, k:], half + hierarchy[:, k:]], 1)
        return CrossMask(visible, rows, hidden, self.row_targets[hidden])


class TokenOrders(NamedTuple):
    """Tokens s·V + v by their index within a group or a decoder row."""

    attention_tokens: Tensor  # (S·V/2,) of the group of segments 0, 2, ...
    hierarchy_tokens: Tensor  # (S·V/2,) of the group of segments 1, 3, ...
    row_targets: Tensor  # (S·V,) predicted by each row of the decoder


def token_orders(segments: int, joints: int, layout: str) -> TokenOrders:
    """Return the token orders of a grid (S, V) for ``layout``, ``corrected`` or ``reference``.

    Corrected: both groups are listed segment by segment, and each row predicts its own token. Reference: the attention
    group is listed joint by joint, and the targets of the rows are one group after the other, segment by segment.
    """
    grid = torch.arange(segments * joints).view(segments, joints)
    even, odd = grid[::2], grid[1::2]
    if layout == "corrected":
        return TokenOrders(even.flatten(), odd.flatten(), grid.flatten())
    return TokenOrders(even.T.flatten(), odd.flatten(), torch.cat([even.flatten(), odd.flatten()]))


def attention_scores(query: Tensor, key: Tensor, scale: float, axis: str = "joint") -> Tensor:
    """Return the attention that each segment of a joint receives: query, key (B, S, V, D) -> (B, S, V).

    A[v, t, u] = softmax(scale · q[t, v]·k[u, v]) over the joints v (``joint``) or over the segments u (``time``). The
    score of token (u, v) is Σ_t A[v, t, u].
    """
    logits = torch.einsum("btvd,buvd->bvtu", query, key) * scale
    return logits.softmax(1 if axis == "joint" else 3).sum(2).mT


def hierarchy_scores(joints: Points, father: Points, weight: float, c: float = 1.0, factor: float = 2.0) -> Tensor:
    """Return the distance of each joint to the others of its segment plus ``weight`` times that to the trunk.

    Leaves of the hierarchy, such as hands and feet, score high.

    Args:
        joints: points (B, S, V, D).
        father: point of the trunk in each segment, (B, S, D).
        weight: weight of the distance to the trunk.
        c: curvature of the ball.
        factor: 2 for the geodesic distance.

    Returns:
        (B, S, V).
    """
    trunk = Points(father.x[:, :, None], father.gap[:, :, None])
    return pairwise_distance(joints, c, factor).sum(-1) + weight * distance(joints, trunk, c, factor)
