"""Draw animated skeletons side by side, with the joints, frames or tokens that a mask hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.html import script_figure
from skelssl.pages.figures.pose import pose_upright
from skelssl.pages.figures.token_map import Tokens, is_binary, token_cells, token_note, token_rows
from skelssl.skeleton.layout import Layout


@dataclass(frozen=True)
class PlayerClip:
    """One animated clip; absent persons and frames are zeros."""

    title: str
    x: NDArray[np.floating]  # (T, V, 3, M) joint positions (no motion or bone stream), any unit
    dropped_joints: Sequence[int] = ()  # drawn hollow with dashed bones; beside tokens: joints without tokens
    kept_frames: Sequence[int] | None = None  # T' frames that a mask keeps; None: all
    tokens: Tokens | None = None  # (M, S, V) masked or not, or weights of at least 0
    bodies: Sequence[str] = ()  # M names: each body has a bar of the frames where it is present
    note: str | None = None  # the line below; None: a summary of the mask
    seen: NDArray[np.bool_] | None = None  # (T, V, M) detected joints; None: all joints of present persons
    mark: str = ""  # "good" or "bad" colours the title


def skeleton_player(
    clips: Sequence[PlayerClip] | Mapping[str, Sequence[PlayerClip]],
    layout: Layout,
    *,
    together: bool = False,
    small: bool = False,
) -> str:
    """Draw a player of the clips, synchronised. A strip below each clip marks dropped frames, or a map masked tokens.

    Args:
        clips: Clips side by side, or named rows of clips.
        layout: The skeleton layout of all clips.
        together: Stretch shorter clips, so that all have the same duration.
        small: Draw small clips without strips; a row scrolls sideways on narrow screens.
    """
    side = [{"_left": 1, "_right": 2}.get(j[j.rfind("_") :], 0) if "_" in j else 0 for j in layout.joints]
    rows = clips if isinstance(clips, Mapping) else {"": clips}
    data = {
        "bones": layout.bones,
        "side": side,
        "head": layout.joints.index("head") if "head" in layout.joints else -1,
        "together": together,
        "small": small,
        "joints": [name.replace("_", " ") for name in layout.joints],
        "rows": token_rows(layout),
        "groups": [[name, len(row)] for name, row in rows.items()],
        "clips": [_clip(clip, layout) for row in rows.values() for clip in row],
    }
    return script_figure("player", data, "animated skeletons")


def how_to_read(clips: Sequence[PlayerClip]) -> str:
    """Return the legend of the masks in ``clips``, for a caption."""
    kinds = {None if clip.tokens is None else is_binary(clip.tokens) for clip in clips}
    sentences = {
        None: "Red and hollow: dropped joints. The strip below a clip shows which frames are kept; the skeleton fades "
        "in the dropped ones.",
        True: "Red and hollow: masked tokens, each a joint during one temporal segment. The map below a clip has a row "
        "for each joint and a column for each segment; saturated colours are visible tokens.",
        False: "Purple: weight of each token, relative to the largest of the person.",
    }
    return " ".join(text for kind, text in sentences.items() if kind in kinds)


def _clip(clip: PlayerClip, layout: Layout) -> dict[str, object]:
    x = np.moveaxis(np.asarray(clip.x, dtype=np.float64), 3, 1)  # (T, M, V, 3)
    present = np.any(x, axis=(2, 3))  # (T, M)
    unseen = None if clip.seen is None else ~np.moveaxis(clip.seen, 2, 1) & present[..., None]  # (T, M, V)
    posed = pose_upright(x if unseen is None else _filled(x, unseen), present, layout)
    frames = len(x)
    kept = range(frames) if clip.kept_frames is None else sorted(int(t) for t in clip.kept_frames)
    return {
        "title": clip.title,
        "note": _note(clip, present, len(kept), layout) if clip.note is None else clip.note,
        "bodies": list(clip.bodies),
        "floor": float(posed[present].reshape(-1, 3)[:, 1].min(initial=0.0)),
        "x": (1000 * posed).round().astype(int).reshape(frames, len(x[0]), -1).tolist(),
        "present": present.astype(int).tolist(),
        "unseen": None
        if unseen is None or not unseen.any()
        else [[np.flatnonzero(m).tolist() for m in t] for t in unseen],
        "mark": clip.mark,
        "dropped": sorted(int(v) for v in clip.dropped_joints),
        "kept": list(kept),
        "tokens": None if clip.tokens is None else token_cells(clip.tokens, present, layout),
    }


def _filled(x: NDArray[np.float64], unseen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Move undetected joints of (T, M, V, 3) to the mean of the others, so that they do not affect the scale."""
    count = np.maximum((~unseen).sum(2), 1)[..., None]
    middle = np.where(unseen[..., None], 0.0, x).sum(2) / count  # (T, M, 3)
    return np.where(unseen[..., None], middle[:, :, None], x)


def _note(clip: PlayerClip, present: NDArray[np.bool_], kept: int, layout: Layout) -> str:
    frames = len(present)
    names = ", ".join(layout.joints[v].replace("_", " ") for v in sorted(clip.dropped_joints))
    if clip.tokens is not None:
        without = f"; no tokens: {names}" if names else ""
        return token_note(clip.tokens, present, len(clip.dropped_joints)) + without
    if names:
        return f"{len(clip.dropped_joints)} of {len(layout.joints)} joints dropped: {names}"
    return f"{kept} of {frames} frames kept" if kept < frames else f"all {frames} frames, all joints"
