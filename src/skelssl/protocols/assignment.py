"""The best one-to-one assignment, exact: which cluster stands for which class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best_assignment(value: ArrayLike) -> NDArray[np.int64]:
    """(n, n) values -> (n,) the column of each row, each column once, with the largest sum.

    Kuhn's Hungarian method in its O(n³) form: one row after the other joins along a shortest augmenting path under
    dual prices. Ties go to the lower column, so equal inputs give equal answers. Raises ValueError for another shape.

    >>> best_assignment([[4, 1], [3, 1]]).tolist()
    [0, 1]
    """
    cost = -np.asarray(value, np.float64)
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
        raise ValueError(f"value: found shape {cost.shape}, expected a square matrix")
    n = len(cost)
    row_price, column_price = np.zeros(n), np.zeros(n + 1)
    row_of = np.full(n + 1, -1)  # the row that holds each column; column n stands for "the row that joins now"
    for row in range(n):
        row_of[n], column = row, n
        least, before = np.full(n, np.inf), np.full(n, n)
        seen = np.zeros(n + 1, bool)
        while row_of[column] >= 0:
            seen[column] = True
            reduced = cost[row_of[column]] - row_price[row_of[column]] - column_price[:n]
            better = ~seen[:n] & (reduced < least)
            least[better], before[better] = reduced[better], column
            nearest = int(np.where(seen[:n], np.inf, least).argmin())
            step = least[nearest]
            row_price[row_of[seen]] += step
            column_price[seen] -= step
            least[~seen[:n]] -= step
            column = nearest
        while column != n:  # hand the columns on along the path
            row_of[column] = row_of[before[column]]
            column = int(before[column])
    return np.argsort(row_of[:n])
