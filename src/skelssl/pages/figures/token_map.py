"""Masks of tokens for a picture: which tokens of each person are hidden, or how much each weighs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.skeleton.layout import Layout

Tokens = NDArray[np.bool_] | NDArray[np.floating]  # (M, S, V): hidden or not; or weights of at least 0
Present = NDArray[np.bool_]  # (T, M)

MOST = 9  # level of a person's largest weight


def is_binary(tokens: Tokens) -> bool:
    """Whether tokens are hidden or not, rather than weighed."""
    return tokens.dtype == np.bool_


def token_cells(tokens: Tokens, present: Present, layout: Layout) -> dict[str, object]:
    """The grid of each person as the page draws it: cells[m][s][v], null for a person who is never there.

    Raises:
        ValueError: the grid does not fit the clip; S must divide T.
    """
    (frames, persons), segments = present.shape, tokens.shape[1]
    if tokens.shape != (persons, segments, len(layout.joints)) or frames % segments:
        raise ValueError(
            f"tokens: found shape {tokens.shape}, expected ({persons}, S, {len(layout.joints)}), S dividing {frames}"
        )
    grids = zip(weight_levels(tokens).tolist(), np.any(present, axis=0), strict=True)
    return {
        "kind": "hidden" if is_binary(tokens) else "weight",
        "most": 1 if is_binary(tokens) else MOST,
        "segments": segments,
        "cells": [grid if there else None for grid, there in grids],
    }


def weight_levels(tokens: Tokens) -> NDArray[np.int64]:
    """(M, S, V) in whole numbers: 1 where hidden; or weights from 0 to ``MOST``, the person's largest if above 0."""
    if is_binary(tokens):
        return tokens.astype(np.int64)
    most = tokens.max(axis=(1, 2), keepdims=True)
    return np.rint(MOST * tokens / np.where(most > 0, most, 1)).astype(np.int64)


def token_note(tokens: Tokens, present: Present, left_out: int = 0) -> str:
    """What the grids show, in words: how many tokens are hidden of whom, and who is absent.

    ``left_out`` joints have no tokens and are drawn as hidden.
    """
    _, segments, joints = tokens.shape
    there = np.any(present, axis=0)
    absent = [f"person {m + 1}: absent" for m in np.flatnonzero(~there)]
    if not is_binary(tokens):
        return "; ".join([f"{segments} segments of {len(present) // segments} frames", *absent])
    hidden = tokens.sum((1, 2)) - segments * left_out
    total = segments * (joints - left_out)
    counts = [f"person {m + 1}: {hidden[m]} of {total} tokens hidden" for m in np.flatnonzero(there)]
    return "; ".join(counts + absent)


def token_rows(layout: Layout) -> list[tuple[str, list[int]]]:
    """Rows of a map: every joint once, part by part; joints of no part come last."""
    parts = {**layout.parts, "other": range(len(layout.joints))}
    first = {v: part for part, members in reversed(parts.items()) for v in members}
    rows = {part: [v for v in dict.fromkeys(members) if first[v] == part] for part, members in parts.items()}
    return [(part.replace("_", " "), members) for part, members in rows.items() if members]
