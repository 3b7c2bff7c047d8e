"""Match clusters with classes: the exact best one-to-one assignment."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best_assignment(value: ArrayLike) -> NDArray[np.int64]:
    """Return the column of each row in the one-to-one assignment with the largest sum of values.

    This is Kuhn's Hungarian method in its O(n³) form: rows are added one after the other along a shortest augmenting
    path under dual prices. Ties go to the lower column, so equal inputs give equal answers.

    Args:
        value: (n, n) value of giving a column to a row.

    Returns:
        (n,) int64, each column once.

    Raises:
        ValueError: ``value`` is not a square matrix.

    >>> best_assignment([[4, 1], [3, 1]]).tolist()
    [0, 1]
    """
    cost = -np.asarray(value, np.float64)
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
        raise ValueError(f"value: found shape {cost.shape}, expected a square matrix")
    n = len(cost)
    row_price, column_price = np.zeros(n), np.zeros(n + 1)
    row_of = np.full(n + 1, -1)  # the row that has each column; column n stands for the row that is added now
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
        while column != n:  # reassign the columns along the path
            row_of[column] = row_of[before[column]]
            column = int(before[column])
    return np.argsort(row_of[:n])
