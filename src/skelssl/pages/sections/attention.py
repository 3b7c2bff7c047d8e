"""Attention: what an encoder attends to over the body, or, where it has no attention, its graph or its sensitivity."""

from __future__ import annotations

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
from skelssl.pages.clip_figures import player_clip
from skelssl.pages.figures.body import JointValues, body_map
from skelssl.pages.figures.player import skeleton_player
from skelssl.pages.figures.profile import bar_profile
from skelssl.pages.run import OpenedRun, Section
from skelssl.pages.sections.liveliest import liveliest_clips, pose_of
from skelssl.pretrained.features import evaluating
from skelssl.runtime.draws import step_generator

CLIPS = 16  # spread over the test split
CAPTION = (
    f"Means over {CLIPS} test clips under the test view; absent persons are excluded. Click on a joint to select it."
)
ATTENTION = (
    "Last block: how much the tokens of a joint attend to those of each joint, summed over the attended segments, mean "
    "over heads and querying segments. Rollout: the product over all blocks, each block's attention averaged with the "
    "residual path (Abnar and Zuidema, 2020). Without a selected joint: the mean over all querying joints. "
)
RADIUS = (
    "Hyperbolic radius: distance of a joint's tokens from the origin of the Poincaré ball; tokens closer to it are "
    "higher in the hierarchy."
)
IMPORTANCE = (
    "A graph network has no attention but a learned importance for every edge of the graph, initialised to 1. A bone "
    "shows the mean of its two directions, a joint the importance of its self-loop."
)
GRAPH = (
    "The adjacency that a joint gathers from, summed over the three partitions, mean over blocks: A is fixed by the "
    "skeleton layout, P is learned (its absolute value is drawn), S is computed from the clips."
)
SENSITIVITY = (
    "This network has neither attention nor a graph. Sensitivity is the Frobenius norm of the derivative of the "
    f"features with respect to a joint's coordinates, estimated along {DIRECTIONS} random directions."
)


def attention_section(run: OpenedRun) -> Section:
    """Draw one body per exported encoder, and for PSTL the attention of MATM to frames."""
    encoders = run.method.encoders()
    named = {name: encoder for name, encoder in encoders.items() if name}
    chosen = named if encoders[""] in named.values() else {"encoder": encoders[""]}
    parts = [_encoder(run, name, encoder) for name, encoder in chosen.items()]
    if isinstance(mask := getattr(run.method, "matm", None), MotionAttentionMask):
        parts.append(_frame_attention(run, mask))
    return Section(CAPTION, "".join(parts))


def _encoder(run: OpenedRun, name: str, encoder: nn.Module) -> str:
    x = _test_view(run, run.data.test[:: -(-len(run.data.test) // CLIPS)].tolist())
    with evaluating(encoder):
        if isinstance(encoder, Transformer):
            return _transformer(run, name, encoder, x)
        if isinstance(encoder, STGCN):
            factors, note = edge_importance(encoder, run.body), IMPORTANCE
            maps = [JointValues(title, *values) for title, values in factors.items()]
        elif isinstance(encoder, AGCN):
            graphs, note = learned_graph(encoder, x), GRAPH
            maps = [JointValues(title, graph, picked="gathered by") for title, graph in graphs.items()]
        else:
            maps, note = [JointValues("sensitivity", sensitivity(encoder, x, run.seed))], SENSITIVITY
    return _block(f"{name}: {type(encoder).__name__}", note, body_map(maps, run.body, pose_of(run)))


def _block(title: str, note: str, html: str) -> str:
    return f'<h3>{title}</h3><p class="caption">{note}</p>{html}'


def _test_view(run: OpenedRun, rows: list[int], stream: str | None = None) -> Tensor:
    """Return test clips as the encoder takes them (N·K, C, T', V, M), or in another stream."""
    block = run.config["method"]["view"]["test"]
    view = instantiate(block if stream is None else {**block, "stream": stream}, _convert_="all")
    out: Tensor = view(run.data.store.gather(np.array(rows)), step_generator(0, 0, 0, "shared"))
    return out


def _transformer(run: OpenedRun, name: str, encoder: Transformer, x: Tensor) -> str:
    """Draw the attention between joints on a body, and on a moving clip; for hyperbolic tokens also their radius."""
    last, rolled, joints = *mean_attention(encoder, x), len(run.body.joints)
    without = sorted(set(range(joints)) - set(encoder.joints))
    maps = [
        JointValues(title, on_layout(between_joints(found, encoder.grid), encoder, joints), None, without, percent=True)
        for title, found in (("last block", last), ("rollout", rolled))
    ]
    note = ATTENTION
    if encoder.curvature is not None:
        maps.append(JointValues("hyperbolic radius", on_layout(radius(encoder, x), encoder, joints), without=without))
        note += RADIUS
    return _block(f"{name}: Transformer", note, body_map(maps, run.body, pose_of(run)) + _received(run, encoder))


def _received(run: OpenedRun, encoder: Transformer) -> str:
    """Draw a clip whose joints are coloured by the attention that they receive, above the minimum over tokens."""
    row = liveliest_clips(run.data, 1)
    x, clip = _test_view(run, row)[:1], _test_view(run, row, "joint")[:1]
    without = sorted(set(range(x.shape[3])) - set(encoder.joints))
    titles, players = ("received in the last block", "received, rollout"), []
    for title, found in zip(titles, received_attention(encoder, x), strict=True):
        weights = above_least(found)
        tokens = weights.new_zeros(*weights.shape[:2], x.shape[3]).index_copy_(2, encoder.kept.cpu(), weights)
        players.append(player_clip(title, clip, flat=run.flat, tokens=tokens.numpy(), dropped_joints=without))
    return skeleton_player({f"{run.named(row[0])}: received attention above the minimum": players}, run.body)


def _frame_attention(run: OpenedRun, mask: MotionAttentionMask) -> str:
    """Draw the motion of each frame of a clip, by which PSTL's temporal view drops frames."""
    row = liveliest_clips(run.data, 1)[0]
    x = run.clip(row)
    fraction = motion_by_frame(x)
    kept = mask.kept(x, torch.Generator().manual_seed(run.seed))[0].tolist()
    note = (
        f"Fraction of the clip's motion in each frame: MATM drops the {mask.k_motion} frames with the most motion and "
        f"{mask.k_random} random others. Red: frames dropped in one draw. Clip: {run.named(row)}."
    )
    chart = bar_profile(
        "fraction of the motion", fraction.numpy(), "frame", dropped=set(range(len(fraction))) - set(kept)
    )
    return _block("temporal view: attention of MATM to frames", note, chart)
