"""Transfer: an encoder pre-trained on one dataset is fine-tuned on all labels of another, under a head of its own.

The recipe of the data and the views stay the encoder's. Skeleton2vec, MAMP and HA-CM transfer to PKU-MMD II, 51
classes; so does CMD for skeleton-contrast. A linear transfer is ``protocol=linear dataset=TARGET``.
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
    """Fine-tuning on another dataset than the encoder's own; raises UserError on the same one, and as ``finetune``."""
    plan = FinetuneRecipe.read(recipe, "probe.transfer")
    if Pretrained.of(frozen.encoder).about["dataset"] == frozen.data.name:
        raise UserError(
            f"dataset: found {frozen.data.name}, which the encoder was pre-trained on, expected the dataset to "
            "transfer to (protocol=finetune stays on its own)"
        )
    return train_and_score(frozen, frozen.rows["train"], plan, seed, name="transfer")
