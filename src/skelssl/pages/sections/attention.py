"""What an encoder looks at, over the body: attention, graphs, a hierarchy, or, where it has none, what it reacts to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce
from hydra.utils import instantiate
from torch import Tensor, nn

from skelssl.encoders.agcn import AGCN
from skelssl.encoders.poincare import at, distance
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from skelssl.maskers.motion_attention import MotionAttentionMask
from skelssl.methods.visualize import above_least
from skelssl.pages.clip_figures import positioned
from skelssl.pages.figures.body import BodyLook, body_map
from skelssl.pages.figures.player import skeleton_player
from skelssl.pages.figures.profile import profile
from skelssl.pages.run import Look, Section
from skelssl.pages.sections.masks import lively, pose
from skelssl.pretrained.features import evaluating
from skelssl.runtime.draws import step_generator
from skelssl.skeleton.layout import Layout

CLIPS = 16  # test clips, spread over the set
DIRECTIONS = 8  # of the feature space, to estimate how strongly it reacts
CAPTION = f"Means over {CLIPS} test clips under the test view, persons who are there alone. Pick a joint by touch."


def attention(look: Look) -> Section:
    """One picture per encoder that the run ships, and what else the method looks through."""
    encoders = look.method.encoders()
    named = {name: encoder for name, encoder in encoders.items() if name}
    shown = named if encoders[""] in named.values() else {"encoder": encoders[""]}
    parts = [_part(look, name, encoder) for name, encoder in shown.items()]
    if isinstance(mask := getattr(look.method, "matm", None), MotionAttentionMask):
        parts.append(frame_attention(look, mask))
    return Section(CAPTION, "".join(parts))


def _part(look: Look, name: str, encoder: nn.Module) -> str:
    x = viewed(look, look.data.test[:: -(-len(look.data.test) // CLIPS)].tolist())
    with evaluating(encoder):
        if isinstance(encoder, Transformer):
            return transformer(look, name, encoder, x)
        if isinstance(encoder, STGCN):
            looks, note = edge_importance(encoder, look.body), IMPORTANCE
        elif isinstance(encoder, AGCN):
            looks, note = learned_graph(encoder, x), GRAPH
        else:
            looks, note = sensitivity(encoder, x, look.seed), NOTHING
    return _block(f"{name}: {type(encoder).__name__}", note, body_map(looks, look.body, pose(look)))


def _block(title: str, note: str, html: str) -> str:
    return f'<h3>{title}</h3><p class="caption">{note}</p>{html}'


def viewed(look: Look, rows: list[int], stream: str | None = None) -> Tensor:
    """Test clips as the encoder takes them (N·K, C, T', V, M), or in another stream."""
    block = look.config["method"]["view"]["test"]
    view = instantiate(block if stream is None else {**block, "stream": stream}, _convert_="all")
    out: Tensor = view(look.data.store.gather(np.array(rows)), step_generator(0, 0, 0, "shared"))
    return out


# --- transformers ----------------------------------------------------------------------------------------------------

ATTENTION = (
    "Last block: how much a joint's tokens attend to those of each joint, summed over their moments, mean over heads "
    "and over the moments of the one that asks. Rolled out: the same through all blocks, each block's attention "
    "averaged with the residual path (Abnar and Zuidema, 2020). Before a joint is picked, the mean over all that ask. "
)
RADIUS = (
    "Radius: distance of a joint's tokens from the centre of the Poincaré ball, the higher in the hierarchy the nearer."
)


def transformer(look: Look, name: str, encoder: Transformer, x: Tensor) -> str:
    """Attention between joints on a body, and on a moving clip; for tokens in a ball also their radius."""
    last, rolled = mean_attention(encoder, x)
    without = sorted(set(range(len(look.body.joints))) - set(encoder.joints))
    looks = [
        BodyLook(title, _whole(between_joints(found, encoder.grid), encoder, look.body), None, without, percent=True)
        for title, found in (("last block", last), ("rolled out", rolled))
    ]
    note = ATTENTION
    if encoder.curvature is not None:
        looks.append(BodyLook("hyperbolic radius", _whole(radius(encoder, x), encoder, look.body), without=without))
        note += RADIUS
    return _block(f"{name}: Transformer", note, body_map(looks, look.body, pose(look)) + _moving(look, encoder))


def present(x: Tensor) -> Tensor:
    """(N·M,) which persons of clips (N, C, T', V, M) are there."""
    return rearrange(x, "n c t v m -> (n m) (c t v)").any(1)


def tokens_of(encoder: Transformer, x: Tensor) -> Tensor:
    """Tokens (B, L, D) of the persons who are there."""
    with torch.no_grad():
        return encoder.embed(x)[present(x)]


def attentions(encoder: Transformer, tokens: Tensor) -> Iterator[Tensor]:
    """Yields what each block's tokens (1, L, D) attend to, (L, L), rows sum to 1, the mean over heads."""
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
    """Attention of the last block, and through all of them: the product of (A + 1) / 2 (Abnar and Zuidema, 2020)."""
    last = rolled = torch.zeros(())
    for i, last in enumerate(maps):
        step = (last + torch.eye(len(last))) / 2
        rolled = step @ rolled if i else step
    return last, rolled


def mean_attention(encoder: Transformer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Means of both over the persons who are there: (L, L) twice."""
    pairs = [roll_out(attentions(encoder, tokens[None])) for tokens in tokens_of(encoder, x)]
    last, rolled = (torch.stack(found).mean(0) for found in zip(*pairs, strict=True))
    return last, rolled


def between_joints(attended: Tensor, grid: tuple[int, int]) -> Tensor:
    """(L, L) over tokens -> (V, V) over joints: mean over the moments that ask, sum over those that are asked."""
    s, v = grid
    return reduce(attended.view(s, v, s, v), "s v r w -> v w", "sum") / s


def radius(encoder: Transformer, x: Tensor) -> Tensor:
    """(V,) mean distance of a joint's tokens from the origin of the ball."""
    c = encoder.curvature
    assert c is not None
    with torch.no_grad():
        tangent = encoder.tangent(encoder.patches(x))[present(x)]
    far = distance(at(tangent, c), at(torch.zeros_like(tangent[0, 0]), c), c)  # (B, L)
    return far.view(len(far), *encoder.grid).mean((0, 1))


def _whole(values: Tensor, encoder: Transformer, body: Layout) -> Any:
    """(V', ...) of the joints with tokens -> (V, ...) of the layout, 0 elsewhere."""
    kept, joints = encoder.kept.cpu(), len(body.joints)
    whole = torch.zeros((joints,) * values.ndim)
    whole[torch.meshgrid(*[kept] * values.ndim, indexing="ij")] = values.cpu().float()
    return whole.numpy()


def _moving(look: Look, encoder: Transformer) -> str:
    """A clip whose joints glow with the attention that they receive."""
    row = [lively(look.data, 1)[0]]
    x, shown = viewed(look, row)[:1], viewed(look, row, "joint")[:1]
    there = present(x)
    received = torch.zeros(2, len(there), *encoder.grid)
    for m, tokens in zip(there.nonzero().flatten().tolist(), tokens_of(encoder, x), strict=True):
        for kind, found in enumerate(roll_out(attentions(encoder, tokens[None]))):
            received[kind, m] = found.mean(0).view(encoder.grid)
    left_out = sorted(set(range(x.shape[3])) - set(encoder.joints))
    clips = []
    for title, found in zip(("received in the last block", "received, rolled out"), received, strict=True):
        weights = above_least(found)  # every token receives some
        tokens = weights.new_zeros(*weights.shape[:2], x.shape[3]).index_copy_(2, encoder.kept.cpu(), weights)
        figure: Any = {"flat": look.flat, "tokens": tokens.numpy(), "dropped_joints": left_out}
        clips.append(positioned(title, shown, **figure))
    return skeleton_player({f"{look.named(row[0])}: attention above the least": clips}, look.body)


# --- graphs ----------------------------------------------------------------------------------------------------------

IMPORTANCE = (
    "A graph network has no attention; it learns a factor for every edge of the body, 1 before training. A bone shows "
    "the mean of its two directions, a joint the factor of its own loop."
)
GRAPH = (
    "The graph that a joint gathers from, summed over its three partitions, mean over blocks: A is the body's own, P "
    "was learned (its size is shown), S is what the clips themselves say."
)


def edge_importance(encoder: STGCN, body: Layout) -> list[BodyLook]:
    """The learned factors of the edges: mean over blocks, first and last block. Without any, all are 1."""
    factors = [f.detach() for f in encoder.edge_importance] or [torch.ones_like(encoder.A)]
    looks = {"mean over blocks": torch.stack(factors).mean(0), "first block": factors[0], "last block": factors[-1]}
    return [BodyLook(title, *_edges(factor, encoder.A, body)) for title, factor in looks.items()]


def _edges(factor: Tensor, graph: Tensor, body: Layout) -> tuple[Any, Any]:
    """Factors (K, V, V) of a graph -> those of the joints' own loops (V,) and of the bones (B,)."""
    used = (graph != 0).float()
    each = (factor * used).sum(0) / used.sum(0).clamp(min=1)
    child, parent = torch.tensor(body.bones).T
    return each.diagonal().numpy(), ((each[child, parent] + each[parent, child]) / 2).numpy()


def learned_graph(encoder: AGCN, x: Tensor) -> list[BodyLook]:
    """Which joints a joint gathers from, by the body, by what was learned, and by the clips."""
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
    said = torch.stack(similar).mean(0)
    learned = torch.stack([block.gcn1.PA.detach() for block in blocks])
    graphs = {"A + P + S": encoder.A + learned.mean(0) + said, "S: by the clips": said,
              "P: learned": learned.abs().mean(0), "A: the body": encoder.A}  # fmt: skip
    return [BodyLook(title, graph.sum(0).T.numpy(), picked="gathered by") for title, graph in graphs.items()]


# --- the others ------------------------------------------------------------------------------------------------------

NOTHING = (
    "This network has no attention and no graph. Shown is what it reacts to: how far the features move when a joint "
    f"moves a little, the Frobenius norm of their derivative, estimated along {DIRECTIONS} random directions."
)


def sensitivity(encoder: nn.Module, x: Tensor, seed: int) -> list[BodyLook]:
    """(V,) root of the mean square of the derivative of the features of clips (N, C, T, V, M) by each joint."""
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        features = encoder(x)
        draws = torch.randn(DIRECTIONS, *features.shape, generator=torch.Generator().manual_seed(seed))
        slopes = [torch.autograd.grad(features, x, draw.to(features), retain_graph=True)[0] for draw in draws]
    found = torch.stack(slopes).square().mean((0, 1)).sum((0, 1, 3)).sqrt()
    return [BodyLook("reaction", found.numpy())]


def frame_attention(look: Look, mask: MotionAttentionMask) -> str:
    """The motion of each frame of the liveliest clip, which decides what PSTL's temporal view drops first."""
    row = lively(look.data, 1)[0]
    x = look.clip(row)
    moves = x.diff(dim=2).square().mean((0, 1, 3, 4))
    share = torch.cat([moves, moves.new_zeros(1)]) / moves.sum().clamp(min=1e-12)
    kept = mask.kept(x, torch.Generator().manual_seed(look.seed))[0].tolist()
    note = (
        f"How much of a clip's motion lies in each frame: the {mask.k_motion} fastest are dropped, and "
        f"{mask.k_random} of the others by chance. Red: dropped in one draw. The clip: {look.named(row)}."
    )
    chart = profile("share of the motion", share.numpy(), "frame", dropped=set(range(len(share))) - set(kept))
    return _block("temporal view: attention of MATM to frames", note, chart)
