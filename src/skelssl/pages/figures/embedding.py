"""Draw the feature space: one dot per clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.html import script_figure


@dataclass(frozen=True)
class Embedding:
    """N clips on a plane, with their labels and metadata."""

    xy: NDArray[np.floating]  # (N, 2)
    label: NDArray[np.integer]  # (N,) class
    names: Sequence[str] | None = None  # N clip names
    subject: NDArray[np.integer] | None = None  # (N,)
    camera: NDArray[np.integer] | None = None  # (N,)


def principal_plane(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Project features (N, D), D at least 2, onto their first two principal components (PCA by SVD).

    Returns:
        Coordinates (N, 2), and the fraction of the variance that the plane explains. Signs are fixed: the largest
        weight of a component is positive.
    """
    centred = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(1)])[:, None]
    return centred @ axes.T, float((scale[:2] ** 2).sum() / max((scale**2).sum(), np.finfo(float).tiny))


def embedding_map(embedding: Embedding, class_names: Sequence[str]) -> str:
    """Draw a scatter plot of the clips, coloured by class, subject or camera; groups can be highlighted."""
    xy = np.asarray(embedding.xy, dtype=np.float64)
    low, high = xy.min(0), xy.max(0)
    span = np.maximum(high - low, np.finfo(float).tiny)
    groups: dict[str, object] = {"class": {"of": embedding.label.tolist(), "names": list(class_names)}}
    for key, values in (("subject", embedding.subject), ("camera", embedding.camera)):
        if values is not None:
            known, of = np.unique(values, return_inverse=True)
            groups[key] = {"of": of.tolist(), "names": [f"{key} {v}" if v >= 0 else f"{key} unknown" for v in known]}
    data = {"xy": ((xy - low) / span).round(4).tolist(), "names": list(embedding.names or []), "groups": groups}
    return script_figure("embedding", data, "feature space")
