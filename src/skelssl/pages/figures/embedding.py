"""A map of the feature space: one dot per clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.html import script_figure


@dataclass(frozen=True)
class Embedding:
    """N clips on a plane, and what is known about each."""

    xy: NDArray[np.floating]  # (N, 2)
    label: NDArray[np.integer]  # (N,) class
    names: Sequence[str] | None = None  # N clip names
    subject: NDArray[np.integer] | None = None  # (N,)
    camera: NDArray[np.integer] | None = None  # (N,)


def principal_plane(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Projects (N, D) features on their two main axes (PCA by SVD).

    Returns (N, 2) and the share of the variance the plane holds. Signs are fixed (the largest weight of an axis is
    positive), so equal features give an equal map everywhere. D must be at least 2.
    """
    centred = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(1)])[:, None]
    return centred @ axes.T, float((scale[:2] ** 2).sum() / max((scale**2).sum(), np.finfo(float).tiny))


def embedding_map(embedding: Embedding, class_names: Sequence[str]) -> str:
    """Scatter of the clips, coloured by class, subject or camera; a group is picked by touch or from the list."""
    xy = np.asarray(embedding.xy, dtype=np.float64)
    low, high = xy.min(0), xy.max(0)
    span = np.maximum(high - low, np.finfo(float).tiny)
    groups: dict[str, object] = {"class": {"of": embedding.label.tolist(), "names": list(class_names)}}
    for key, values in (("subject", embedding.subject), ("camera", embedding.camera)):
        if values is not None:
            known, of = np.unique(values, return_inverse=True)
            groups[key] = {"of": of.tolist(), "names": [f"{key} {v}" if v >= 0 else f"{key} unknown" for v in known]}
    data = {"xy": ((xy - low) / span).round(4).tolist(), "names": list(embedding.names or []), "groups": groups}
    return script_figure("embedding", data, "map of the feature space")
