"""Fine-tune on a labelled fraction of the training clips, drawn by name: semi-supervised evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skelssl.protocols.finetune import train_and_score
from skelssl.protocols.finetune_recipe import FinetuneRecipe
from skelssl.protocols.frozen import Frozen
from skelssl.protocols.subsets import SMALLEST, draw_subset, smallest_ratio
from skelssl.results.scores import SubsetScores


def semi(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> SubsetScores:
    """Train all weights on a labelled fraction of the training clips and score all test clips.

    Args:
        frozen: The encoder on a dataset; a copy of the encoder is trained.
        recipe: The keys of :class:`FinetuneRecipe`, ``ratio`` (a fraction or ``smallest``) and ``select``, which are
            those of :func:`~skelssl.protocols.subsets.draw_subset`.
        seed: Decides the labelled clips and all that fine-tuning draws.

    Returns:
        Scores of the test clips after the last epoch, with the names of the labelled clips in ``subset``.

    Raises:
        UserError: As fine-tuning raises, and for a fraction that leaves a class without a labelled clip.
    """
    training = {key: value for key, value in recipe.items() if key not in ("ratio", "select")}
    plan = FinetuneRecipe.read(training, "probe.semi")
    store, rows, select = frozen.data.store, frozen.rows["train"], recipe["select"]
    names, labels = [store.names[i] for i in rows], store.labels[rows]
    asked = recipe["ratio"]
    ratio = smallest_ratio(names, labels, seed, select) if asked == SMALLEST else asked
    drawn = draw_subset(names, labels, ratio, seed, select)
    subset = {"dataset": frozen.data.name, "ratio": ratio, "select": select, "seed": seed, "n_train": len(names),
              "names": drawn}  # fmt: skip
    scores = train_and_score(frozen, store.rows(drawn), plan, seed, name="semi")
    return SubsetScores(scores.logits, scores.label, scores.index, scores.best_epoch_top1, subset=subset)
