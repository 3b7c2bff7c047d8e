"""Draw what an encoder attends to over the body: attention, graphs, a hierarchy, or, where it has none, sensitivity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from skelssl.encoders.agcn import AGCN
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from skelssl.maskers.motion_attention import MotionAttentionMask
from skelssl.methods.inspect import (
    DIRECTIONS,
    between_joints,
    edge_importance,
    learned_graph,
    mean_attention,
    motion_by_frame,
    on_layout,
    radius,
    received_attention,
    sensitivity,
)
from skelssl.methods.visualize import above_least
from skelssl.pages.clip_figures import positioned
from skelssl.pages.figures.body import BodyLook, body_map
from skelssl.pages.figures.player import skeleton_player
from skelssl.pages.figures.profile import profile
from skelssl.pages.run import Look, Section
from skelssl.pages.sections.masks import lively, pose
from skelssl.pretrained.features import evaluating
from skelssl.runtime.draws import step_generator

CLIPS = 16  # test clips, spread over the set
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
            factors, note = edge_importance(encoder, look.body), IMPORTANCE
            looks = [BodyLook(title, *values) for title, values in factors.items()]
        elif isinstance(encoder, AGCN):
            graphs, note = learned_graph(encoder, x), GRAPH
            looks = [BodyLook(title, graph, picked="gathered by") for title, graph in graphs.items()]
        else:
            looks, note = [BodyLook("reaction", sensitivity(encoder, x, look.seed))], NOTHING
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
    last, rolled, joints = *mean_attention(encoder, x), len(look.body.joints)
    without = sorted(set(range(joints)) - set(encoder.joints))
    looks = [
        BodyLook(title, on_layout(between_joints(found, encoder.grid), encoder, joints), None, without, percent=True)
        for title, found in (("last block", last), ("rolled out", rolled))
    ]
    note = ATTENTION
    if encoder.curvature is not None:
        looks.append(BodyLook("hyperbolic radius", on_layout(radius(encoder, x), encoder, joints), without=without))
        note += RADIUS
    return _block(f"{name}: Transformer", note, body_map(looks, look.body, pose(look)) + _moving(look, encoder))


def _moving(look: Look, encoder: Transformer) -> str:
    """A clip whose joints glow with the attention that they receive."""
    row = [lively(look.data, 1)[0]]
    x, shown = viewed(look, row)[:1], viewed(look, row, "joint")[:1]
    left_out = sorted(set(range(x.shape[3])) - set(encoder.joints))
    clips = []
    for title, found in zip(
        ("received in the last block", "received, rolled out"), received_attention(encoder, x), strict=True
    ):
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


# --- the others ------------------------------------------------------------------------------------------------------

NOTHING = (
    "This network has no attention and no graph. Shown is what it reacts to: how far the features move when a joint "
    f"moves a little, the Frobenius norm of their derivative, estimated along {DIRECTIONS} random directions."
)


def frame_attention(look: Look, mask: MotionAttentionMask) -> str:
    """The motion of each frame of the liveliest clip, which decides what PSTL's temporal view drops first."""
    row = lively(look.data, 1)[0]
    x = look.clip(row)
    share = motion_by_frame(x)
    kept = mask.kept(x, torch.Generator().manual_seed(look.seed))[0].tolist()
    note = (
        f"How much of a clip's motion lies in each frame: the {mask.k_motion} fastest are dropped, and "
        f"{mask.k_random} of the others by chance. Red: dropped in one draw. The clip: {look.named(row)}."
    )
    chart = profile("share of the motion", share.numpy(), "frame", dropped=set(range(len(share))) - set(kept))
    return _block("temporal view: attention of MATM to frames", note, chart)
