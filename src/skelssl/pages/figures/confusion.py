"""Draw a confusion matrix and its most frequent errors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.html import script_figure


def confusion_figure(matrix: NDArray[np.integer], class_names: Sequence[str], worst: int = 8) -> str:
    """Draw a matrix of counts (K, K), rows true and columns predicted, beside its ``worst`` errors."""
    if matrix.shape != (len(class_names),) * 2:
        raise ValueError(f"matrix: found shape {matrix.shape}, expected a square of {len(class_names)} class names")
    heat = script_figure("confusion", {"names": list(class_names), "counts": matrix.tolist()}, "confusion matrix")
    rows = "".join(
        f"<tr><td>{escape(class_names[t])}</td><td>{escape(class_names[p])}</td>"
        f"<td>{matrix[t, p]} of {matrix[t].sum()}</td></tr>"
        for t, p in mistakes(matrix)[:worst]
    )
    table = f"<table><tr><th>true</th><th>predicted</th><th>clips</th></tr>{rows}</table>" if rows else ""
    return f'<div class="beside">{heat}<div class="scroll">{table}</div></div>'


def mistakes(matrix: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Return the (true, predicted) pairs that occur, in descending order of their fraction of the true class."""
    fraction = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(fraction, 0)
    order = np.argsort(-fraction, axis=None, kind="stable")[: np.count_nonzero(fraction)]
    return [(int(t), int(p)) for t, p in zip(*np.unravel_index(order, fraction.shape), strict=True)]
