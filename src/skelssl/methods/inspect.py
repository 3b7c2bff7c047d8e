"""Compute what an encoder attends to: attention between joints, learned graphs, hyperbolic radius, or sensitivity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange, reduce
from numpy.typing import NDArray
from torch import Tensor, nn

from skelssl.encoders.agcn import AGCN
from skelssl.encoders.poincare import at, distance
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from skelssl.skeleton.layout import Layout

DIRECTIONS = 8  # of the feature space, along which the sensitivity is estimated

# --- transformers ----------------------------------------------------------------------------------------------------


def present(x: Tensor) -> Tensor:
    """Return (N·M,), True for the persons of clips (N, C, T', V, M) that are present."""
    return rearrange(x, "n c t v m -> (n m) (c t v)").any(1)


def tokens_of(encoder: Transformer, x: Tensor) -> Tensor:
    """Return the tokens (B, L, D) of the persons present in clips (N, C, T', V, M)."""
    with torch.no_grad():
        return encoder.embed(x)[present(x)]


def attentions(encoder: Transformer, tokens: Tensor) -> Iterator[Tensor]:
    """Yield each block's attention (L, L) between tokens (1, L, D): rows sum to 1, mean over heads."""
    seen: list[Tensor] = []
    blocks: Any = encoder.blocks
    hooks = [block.attn.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for block in blocks]
    try:
        with torch.no_grad():
            encoder.encode(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    for block, x in zip(blocks, seen, strict=True):
        q, k, _ = rearrange(block.attn.qkv(x), "b l (three h d) -> three b h l d", three=3, h=block.attn.heads)
        yield (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).mean((0, 1)).detach()


def roll_out(maps: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the attention of the last block, and through all of them: the product of (A + 1) / 2 (Abnar and Zuidema,
    2020).
    """
    last = rolled = torch.zeros(())
    for i, last in enumerate(maps):
        step = (last + torch.eye(len(last))) / 2
        rolled = step @ rolled if i else step
    return last, rolled


def mean_attention(encoder: Transformer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of both over the persons present: (L, L) twice."""
    pairs = [roll_out(attentions(encoder, tokens[None])) for tokens in tokens_of(encoder, x)]
    last, rolled = (torch.stack(found).mean(0) for found in zip(*pairs, strict=True))
    return last, rolled


def received_attention(encoder: Transformer, x: Tensor) -> Tensor:
    """Return the attention (2, M, S, V) that the tokens of one clip receive: in the last block, and rolled out."""
    persons = present(x)
    received = torch.zeros(2, len(persons), *encoder.grid)
    for m, tokens in zip(persons.nonzero().flatten().tolist(), tokens_of(encoder, x), strict=True):
        for kind, found in enumerate(roll_out(attentions(encoder, tokens[None]))):
            received[kind, m] = found.mean(0).view(encoder.grid)
    return received


def between_joints(attended: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reduce attention (L, L) between tokens to (V, V) between joints: mean over the querying segments, sum over the
    attended ones.
    """
    s, v = grid
    return reduce(attended.view(s, v, s, v), "s v r w -> v w", "sum") / s


def radius(encoder: Transformer, x: Tensor) -> Tensor:
    """Return (V,) the mean hyperbolic distance of a joint's tokens from the origin of the Poincaré ball."""
    c = encoder.curvature
    assert c is not None
    with torch.no_grad():
        tangent = encoder.tangent(encoder.patches(x))[present(x)]
    far = distance(at(tangent, c), at(torch.zeros_like(tangent[0, 0]), c), c)  # (B, L)
    return far.view(len(far), *encoder.grid).mean((0, 1))


def on_layout(values: Tensor, encoder: Transformer, joints: int) -> NDArray[np.float32]:
    """Spread values (V', ...) of the joints with tokens over all joints of the layout (V, ...), 0 elsewhere."""
    kept = encoder.kept.cpu()
    spread = torch.zeros((joints,) * values.ndim)
    spread[torch.meshgrid(*[kept] * values.ndim, indexing="ij")] = values.cpu().float()
    return np.asarray(spread.numpy(), dtype=np.float32)


# --- graphs ----------------------------------------------------------------------------------------------------------


class EdgeFactors(NamedTuple):
    """What multiplies the edges of a body's graph."""

    joints: NDArray[np.float32]  # (V,) of the joints' self-loops
    bones: NDArray[np.float32]  # (B,) mean of a bone's two directions


def edge_importance(encoder: STGCN, body: Layout) -> dict[str, EdgeFactors]:
    """Return the learned edge factors: mean over blocks, first and last block. Without any, all are 1."""
    factors = [f.detach() for f in encoder.edge_importance] or [torch.ones_like(encoder.A)]
    chosen = {"mean over blocks": torch.stack(factors).mean(0), "first block": factors[0], "last block": factors[-1]}
    return {title: _edges(factor, encoder.A, body) for title, factor in chosen.items()}


def _edges(factor: Tensor, graph: Tensor, body: Layout) -> EdgeFactors:
    """Average the factors (K, V, V) of an edge over the partitions of the graph that hold it."""
    used = (graph != 0).float()
    each = (factor * used).sum(0) / used.sum(0).clamp(min=1)
    child, parent = torch.tensor(body.bones).T
    return EdgeFactors(each.diagonal().numpy(), ((each[child, parent] + each[parent, child]) / 2).numpy())


def learned_graph(encoder: AGCN, x: Tensor) -> dict[str, NDArray[np.float32]]:
    """Return (V, V) which joints a joint gathers from: by the body, by what was learned, and by the clips.

    ``x`` are clips (N, C, T', V, M); each graph is summed over its partitions, mean over blocks.
    """
    similar: list[Tensor] = []
    blocks: Any = encoder.blocks
    hooks = [
        block.gcn1.register_forward_pre_hook(lambda conv, args: similar.append(conv.similarity(args[0]).mean(0)))
        for block in blocks
    ]
    try:
        with torch.no_grad():
            encoder(x)
    finally:
        for hook in hooks:
            hook.remove()
    by_clips = torch.stack(similar).mean(0)
    learned = torch.stack([block.gcn1.PA.detach() for block in blocks])
    graphs = {"A + P + S": encoder.A + learned.mean(0) + by_clips, "S: by the clips": by_clips,
              "P: learned": learned.abs().mean(0), "A: the body": encoder.A}  # fmt: skip
    return {title: graph.sum(0).T.numpy() for title, graph in graphs.items()}


# --- any encoder, and clips ------------------------------------------------------------------------------------------


def sensitivity(encoder: nn.Module, x: Tensor, seed: int) -> NDArray[np.float32]:
    """Return (V,) the root mean square derivative of the features of clips (N, C, T, V, M) by each joint."""
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        features = encoder(x)
        draws = torch.randn(DIRECTIONS, *features.shape, generator=torch.Generator().manual_seed(seed))
        slopes = [torch.autograd.grad(features, x, draw.to(features), retain_graph=True)[0] for draw in draws]
    found: NDArray[np.float32] = torch.stack(slopes).square().mean((0, 1)).sum((0, 1, 3)).sqrt().numpy()
    return found


def motion_by_frame(x: Tensor) -> Tensor:
    """Return (T,) the fraction of the motion of a clip (1, C, T, V, M) that is in each frame; the last one has none."""
    moves = x.diff(dim=2).square().mean((0, 1, 3, 4))
    return torch.cat([moves, moves.new_zeros(1)]) / moves.sum().clamp(min=1e-12)
