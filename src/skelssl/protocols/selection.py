"""Select hyper-parameters for ``mode=clean`` on held-out training subjects, never on the test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from skelssl.core.errors import UserError
from skelssl.protocols.frozen import Frozen
from skelssl.results.scores import Scores

Protocol = Callable[[Frozen, Mapping[str, Any], int], Scores]


def select_and_score(
    run: Protocol, frozen: Frozen, recipe: Mapping[str, Any], seed: int
) -> tuple[Scores, dict[str, Any] | None]:
    """Select what ``recipe["choose"]`` leaves open, then run the protocol with it.

    ``recipe["choose"]`` lists candidates by key. Each combination is trained on three quarters of the training subjects
    and validated on the others. The most accurate one, of equal ones the first, is then trained on all training clips
    and scores the test clips.

    Args:
        run: The protocol.
        frozen: The encoder on a dataset.
        recipe: The protocol's recipe, with or without ``choose``.
        seed: Of the split by subjects and of the protocol.

    Returns:
        The scores, and the record of the selection for ``result.json``; None without ``choose``.

    Raises:
        UserError: ``choose`` has no valid candidate, or the protocol raised it.
    """
    plain = {key: value for key, value in recipe.items() if key != "choose"}
    if not recipe.get("choose"):
        return run(frozen, plain, seed), None
    part = frozen.held_out(seed)
    tried = [
        {**change, "top1": run(part, {**plain, **change}, seed).top1}
        for change in recipe_candidates(recipe["choose"], clips=len(part.rows["train"]))
    ]
    best = max(tried, key=lambda one: one["top1"])  # the first of equal ones
    chosen = {key: best[key] for key in recipe["choose"]}
    return run(frozen, {**plain, **chosen}, seed), {"values": chosen, **_how(part), "tried": tried}


def recipe_candidates(choose: Mapping[str, Sequence[Any]], clips: int) -> list[dict[str, Any]]:
    """Return all combinations, the last key varying fastest, without those whose ``k`` exceeds the ``clips`` to vote.

    Raises:
        UserError: A key has no list of candidates, or no combination is left.
    """
    for key, values in choose.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"protocol.choose.{key}: found {values!r}, expected a list of candidates")
    found = [dict(zip(choose, values, strict=True)) for values in product(*choose.values())]
    kept = [one for one in found if one.get("k", 1) <= clips]
    if not kept:
        raise UserError(f"protocol.choose.k: found {choose['k']}, expected one of at most {clips} (the clips to vote)")
    return kept


def _how(part: Frozen) -> dict[str, Any]:
    """Record on which clips the selection was made."""
    subject = part.data.store.facts["subject"]
    trained, asked = (np.unique(subject[part.rows[side]]).tolist() for side in ("train", "test"))
    return {
        "by": "top1 on held-out training clips",
        "n_train": len(part.rows["train"]),
        "n_validation": len(part.rows["test"]),
        "validation_subjects": asked,
        "subject_disjoint": not set(trained) & set(asked),
    }
