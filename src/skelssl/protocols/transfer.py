"""Transfer an encoder to another dataset than that of pre-training: fine-tune it there on all labels.

Data recipe and views remain those of the encoder. Skeleton2vec, MAMP and HA-CM transfer to PKU-MMD II, 51 classes; so
does CMD for skeleton-contrast. A linear transfer is ``protocol=linear dataset=TARGET``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skelssl.core.errors import UserError
from skelssl.pretrained.attributes import Pretrained
from skelssl.protocols.finetune import train_and_score
from skelssl.protocols.finetune_recipe import FinetuneRecipe
from skelssl.protocols.frozen import Frozen
from skelssl.results.scores import Scores


def transfer(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """Train all weights on all training clips of another dataset and score its test clips.

    Args:
        frozen: The encoder on the target dataset; a copy of the encoder is trained.
        recipe: The keys of :class:`FinetuneRecipe`.
        seed: Decides the head, the batches, the crops and the dropout.

    Returns:
        Scores of the test clips after the last epoch; ``best_epoch_top1`` is the best of all evaluated epochs.

    Raises:
        UserError: The encoder was pre-trained on this dataset, or as fine-tuning raises.
    """
    plan = FinetuneRecipe.read(recipe, "probe.transfer")
    if Pretrained.of(frozen.encoder).about["dataset"] == frozen.data.name:
        raise UserError(
            f"dataset: found {frozen.data.name}, which the encoder was pre-trained on, expected the dataset to "
            "transfer to (protocol=finetune stays on its own)"
        )
    return train_and_score(frozen, frozen.rows["train"], plan, seed, name="transfer")
