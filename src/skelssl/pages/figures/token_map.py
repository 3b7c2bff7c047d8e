"""Describe token masks and token weights for the player."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.skeleton.layout import Layout

Tokens = NDArray[np.bool_] | NDArray[np.floating]  # (M, S, V): masked or not; or weights of at least 0
Present = NDArray[np.bool_]  # (T, M)

MOST = 9  # level of the largest weight of a person


def is_binary(tokens: Tokens) -> bool:
    """Return True for a mask, False for weights."""
    return tokens.dtype == np.bool_


def token_cells(tokens: Tokens, present: Present, layout: Layout) -> dict[str, object]:
    """Return the grid of each person as the page draws it: cells[m][s][v], null for absent persons.

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
    """Return (M, S, V) as integers: 1 where masked; or weights, scaled per person to 0 ... ``MOST``."""
    if is_binary(tokens):
        return tokens.astype(np.int64)
    most = tokens.max(axis=(1, 2), keepdims=True)
    return np.rint(MOST * tokens / np.where(most > 0, most, 1)).astype(np.int64)


def token_note(tokens: Tokens, present: Present, left_out: int = 0) -> str:
    """Return the number of masked tokens of each person, and the absent persons.

    ``left_out`` joints have no tokens and are drawn as masked.
    """
    _, segments, joints = tokens.shape
    there = np.any(present, axis=0)
    absent = [f"person {m + 1}: absent" for m in np.flatnonzero(~there)]
    if not is_binary(tokens):
        return "; ".join([f"{segments} segments of {len(present) // segments} frames", *absent])
    hidden = tokens.sum((1, 2)) - segments * left_out
    total = segments * (joints - left_out)
    counts = [f"person {m + 1}: {hidden[m]} of {total} tokens masked" for m in np.flatnonzero(there)]
    return "; ".join(counts + absent)


def token_rows(layout: Layout) -> list[tuple[str, list[int]]]:
    """Return the rows of a map: every joint once, grouped by part; joints of no part come last."""
    parts = {**layout.parts, "other": range(len(layout.joints))}
    first = {v: part for part, members in reversed(parts.items()) for v in members}
    rows = {part: [v for v in dict.fromkeys(members) if first[v] == part] for part, members in parts.items()}
    return [(part.replace("_", " "), members) for part, members in rows.items() if members]
