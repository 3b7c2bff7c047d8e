"""Draw labelled subsets of a training split: lists of clip names that depend on a ratio and a seed alone.

Clips are ordered by the first 8 bytes of BLAKE2b over ``"<seed>/<name>"``, and the first ones are taken. So a draw
depends on no library's random numbers and on no order of files, ranks or rows, and the clips of a smaller ratio are a
subset of those of a larger one. Published code draws by position instead, some of it separately on every GPU, which
doubles the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b, sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, read_json, write_json
from skelssl.core.schema import expect
from skelssl.data.split import read_splits

SELECT = ("stratified", "uniform")
SMALLEST = "smallest"  # instead of a ratio: the smallest one that gives every class a clip
STEPS = 10_000  # ``SMALLEST`` is a multiple of 1 / STEPS


def draw_subset(
    names: Sequence[str], labels: ArrayLike, ratio: float, seed: int, select: str = "stratified"
) -> list[str]:
    """Draw the names of the labelled clips.

    ``stratified`` takes round(ratio · n) of the n clips of each class, halves to even (PSTL, AimCLR). ``uniform`` takes
    int(ratio · N) of all clips (skeleton-contrast, MAMP, HA-CM, Skeleton2vec), whose code may miss a class; here this
    raises an error, since no classifier could learn that class.

    Args:
        names: Names of the N training clips.
        labels: (N,) whole numbers.
        ratio: Labelled fraction, above 0 and up to 1.
        seed: Decides the draw together with the names.
        select: ``stratified`` or ``uniform``.

    Returns:
        The names, sorted.

    Raises:
        UserError: ``ratio`` or ``select`` is invalid, or a class that has clips gets none.

    >>> draw_subset(["a", "b", "c", "d"], [0, 0, 1, 1], 0.5, seed=0)
    ['a', 'd']
    """
    label = np.asarray(labels)
    _check(ratio)
    order = _order(names, seed, select)
    if select == "uniform":
        taken = order[: int(len(order) * ratio)]
    else:
        each = [order[label[order] == c] for c in np.unique(label)]
        taken = np.concatenate([members[: round(ratio * len(members))] for members in each])
    if len(without := np.setdiff1d(label, label[taken])):
        least = smallest_ratio(names, label, seed, select)
        more = ", or another seed, or select=stratified, which takes a fraction of every class"
        raise UserError(
            f"ratio: found {ratio:g}, which leaves {len(without)} of {len(np.unique(label))} classes without a clip "
            f"(the first has label {without[0]}), expected at least {least:g} with select={select} and seed {seed}"
            + (more if select == "uniform" else "")
        )
    return sorted(names[i] for i in taken)


def smallest_ratio(names: Sequence[str], labels: ArrayLike, seed: int, select: str = "stratified") -> float:
    """Return the smallest multiple of 0.0001 with which :func:`draw_subset` gives every class a clip."""
    label, order = np.asarray(labels), _order(names, seed, select)
    if select == "uniform":
        need = 1 + max(np.flatnonzero(label[order] == c)[0] for c in np.unique(label))
        enough: Callable[[float], bool] = lambda ratio: int(len(label) * ratio) >= need  # noqa: E731
    else:
        rarest = np.unique(label, return_counts=True)[1].min()
        enough = lambda ratio: round(ratio * rarest) >= 1  # noqa: E731
    return next(step / STEPS for step in range(1, STEPS + 1) if enough(step / STEPS))


def _check(ratio: object) -> None:
    good = isinstance(ratio, int | float) and not isinstance(ratio, bool) and 0 < ratio <= 1
    expect("ratio", ratio, good, f"a number above 0 and up to 1, or {SMALLEST}")


def _order(names: Sequence[str], seed: int, select: str) -> NDArray[np.int64]:
    """Return the (N,) positions in the order in which they are drawn."""
    expect("select", select, select in SELECT, f"one of {', '.join(SELECT)}")
    digests = [blake2b(f"{seed}/{name}".encode(), digest_size=8).digest() for name in names]
    return np.array(sorted(range(len(names)), key=digests.__getitem__), np.int64)


def write_subset_lists(folder: Path, ratios: Sequence[float], seeds: Sequence[int] = range(5)) -> list[dict[str, Any]]:
    """Write the labelled subsets of every split of a prepared dataset.

    ``subsets/<split>_<select>_<ratio>_<seed>.txt`` has one name per line, so that ``sha256sum`` checks it.

    Args:
        folder: The dataset's folder, ``<data_root>/<dataset>/v1``.
        ratios: Labelled fractions.
        seeds: Seeds of the draws.

    Returns:
        The lists of ``subsets/index.json``: the count and the checksum of each draw, or why it is impossible.

    Raises:
        UserError: A ratio is invalid.
    """
    about, label = read_json(folder / "parsed" / "meta.json"), _labels(folder)
    for ratio in ratios:
        _check(ratio)
    index: list[dict[str, Any]] = []
    for split, select, ratio, seed in product(read_splits(folder / "splits").items(), SELECT, ratios, seeds):
        names = split[1].train
        own = {"split": split[0], "select": select, "ratio": ratio, "seed": seed, "n_train": len(names)}
        try:
            drawn = draw_subset(names, [label[name] for name in names], ratio, seed, select)
        except UserError as error:
            index.append({**own, "n": None, "sha256": None, "error": str(error)})
            continue
        text = "".join(f"{name}\n" for name in drawn)
        with atomic_file(folder / "subsets" / f"{split[0]}_{select}_{ratio:g}_{seed}.txt", "w") as file:
            file.write(text)
        index.append({**own, "n": len(drawn), "sha256": sha256(text.encode()).hexdigest(), "error": None})
    write_json(folder / "subsets" / "index.json", {"dataset": about["dataset"], "lists": index})
    return index


def _labels(folder: Path) -> dict[str, int]:
    index = read_json(folder / "parsed" / "index.json")
    return dict(zip(index["name"], index["label"], strict=True))
