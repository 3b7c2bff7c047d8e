"""Evaluate an encoder with lost joints: repeat a frozen protocol, each time with other joints missing.

PSTL (Zhou et al., AAAI 2023) reports robustness to lost joints, but which, how many and when could not be read. This is
our interpretation: single body parts, several random parts and k random joints, and the accuracy for each of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any, Literal

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.core.schema import expect
from skelssl.data.batch import Batch
from skelssl.encoders.inputs import zero_joints
from skelssl.pretrained.features import Features
from skelssl.protocols.frozen import Frozen
from skelssl.protocols.selection import select_and_score
from skelssl.results.scores import Scores
from skelssl.skeleton.layout import Layout, load_layout

REPEATED = ("linear", "knn", "retrieval")  # protocols that need nothing but features


@dataclass(frozen=True, kw_only=True)
class LostRecipe:
    """Which joints are lost, how, and in which clips."""

    how: Literal["drop", "zero"] = "drop"  # remove them from the encoder's graph or tokens | set their coordinates to 0
    when: Literal["both", "test"] = "both"  # in training and test clips | in test clips alone
    parts: bool = True  # each body part alone
    random_parts: tuple[int, ...] = ()  # numbers of parts lost at once
    random_joints: tuple[int, ...] = ()  # numbers of joints lost at once
    headline: str  # the set whose accuracy is the result's top1

    @classmethod
    def read(cls, recipe: Mapping[str, Any], body: Layout) -> LostRecipe:
        """Build the recipe from a config block; raise UserError for the first invalid key."""
        most = {"random_parts": len(body.parts) - 1, "random_joints": len(body.joints) - 1}
        checks: dict[str, tuple[bool, str]] = {
            "how": (recipe["how"] in ("drop", "zero"), "drop or zero"),
            "when": (recipe["when"] in ("both", "test"), "both or test"),
            "parts": (isinstance(recipe["parts"], bool), "true or false"),
            **{key: (_counts(recipe[key], top), f"a list of numbers of 1 to {top}") for key, top in most.items()},
        }
        for key, (good, expected) in checks.items():
            expect(f"probe.lost_joints.{key}", recipe[key], good, expected)
        values: dict[str, Any] = {f.name: recipe[f.name] for f in fields(cls)}
        values |= {key: tuple(values[key]) for key in most}
        read = cls(**values)
        names = [lost.name for lost in lost_sets(body, read, 0)]
        expect("probe.lost_joints.headline", read.headline, read.headline in names, f"one of {', '.join(names)}")
        return read


@dataclass(frozen=True)
class LostSet:
    """A set of joints that are missing."""

    name: str  # such as "left_arm", "2 parts" or "5 joints"
    kind: Literal["none", "part", "parts", "joints"]
    joints: tuple[int, ...] = ()


def lost_joints(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """Repeat a frozen protocol with each set of lost joints.

    With ``when: both`` the classifier is trained and tested without the joints; with ``when: test`` it is trained once
    on complete skeletons, and joints are lost in the test clips only.

    Args:
        frozen: The encoder on a dataset.
        recipe: The keys of :class:`LostRecipe`, and ``of``, the protocol that is repeated.
        seed: Decides random parts and joints, and is that of the repeated protocol.

    Returns:
        Scores of the test clips with the ``headline`` set lost. ``extra["curve"]`` lists every set with its joints,
        top-1 accuracy and the drop against complete skeletons.

    Raises:
        UserError: The recipe does not fit the skeleton layout or the repeated protocol.
    """
    if (inner := recipe["of"])["name"] not in REPEATED:
        raise UserError(f"protocol.of: found {inner['name']}, expected one of {', '.join(REPEATED)}")
    body = load_layout(frozen.data.store.layout)
    plan = LostRecipe.read(recipe, body)
    sets = lost_sets(body, plan, seed)
    found = _measured(frozen, sets, plan, inner, seed)
    whole = found[0][0].top1
    curve = [
        {"lost": lost.name, "kind": lost.kind, "joints": [body.joints[j] for j in lost.joints],
         "n_lost": len(lost.joints), "top1": scores.top1, "n": len(scores.label), "drop": whole - scores.top1,
         "chosen": chosen and chosen["values"]}
        for lost, (scores, chosen) in zip(sets, found, strict=True)
    ]  # fmt: skip
    extra = {"curve": curve, "encoder_does": _encoder_does(frozen.encoder, plan.how)}
    return replace(found[[lost.name for lost in sets].index(plan.headline)][0], extra=extra)


def _measured(
    frozen: Frozen, sets: Sequence[LostSet], plan: LostRecipe, inner: Mapping[str, Any], seed: int
) -> list[tuple[Scores, dict[str, Any] | None]]:
    """Return the scores of each set, and what ``mode=clean`` selected for it."""
    run = instantiate(inner["run"])
    less = (without_joints(frozen, lost.joints, plan.how) for lost in sets)  # one at a time: each has its own cache
    if plan.when == "both":
        return [select_and_score(run, one, inner["recipe"], seed) for one in less]
    together, chosen = select_and_score(run, _tested_on(frozen, less), inner["recipe"], seed)
    return [(scores, chosen) for scores in _split(together, len(sets))]


def lost_sets(body: Layout, plan: LostRecipe, seed: int) -> list[LostSet]:
    """Return the empty set first, then single parts, random parts and random joints as the recipe lists them.

    Joints and parts are ordered by the first 8 bytes of BLAKE2b over ``"<seed>/<name>"``, and the first k are lost. So
    they depend on (seed, k) alone, can be reproduced anywhere, and smaller sets are subsets of larger ones.
    """
    parts, order = _drawn(list(body.parts), seed), _drawn(list(body.joints), seed)
    single = [LostSet(name, "part", tuple(joints)) for name, joints in body.parts.items()] if plan.parts else []
    several = [
        LostSet(f"{n} parts", "parts", tuple(sorted({j for part in parts[:n] for j in body.parts[part]})))
        for n in plan.random_parts
    ]
    some = [LostSet(f"{k} joints", "joints", tuple(sorted(map(body.index, order[:k])))) for k in plan.random_joints]
    return [LostSet("none", "none"), *single, *several, *some]


def without_joints(whole: Frozen, joints: Sequence[int], how: str) -> Frozen:
    """Return the encoder on the same clips without ``joints``; the copy has its own feature cache."""
    if not joints:
        return whole
    less = copy.copy(whole)
    less.cache = {}
    if how == "drop":
        less.ignore = joints
    else:
        less.views = {name: ZeroedView(view, joints) for name, view in whole.views.items()}
    return less


class ZeroedView(nn.Module):
    """Set the coordinates of ``joints`` to 0 before a view computes its stream."""

    def __init__(self, view: nn.Module, joints: Sequence[int]) -> None:
        super().__init__()
        self.view, self.joints = view, joints

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return the encoder inputs (N*K, C, T', V, M) of a batch."""
        x: Tensor = self.view(replace(batch, x=zero_joints(batch.x, self.joints)), generator)
        return x


def _tested_on(whole: Frozen, less: Iterable[Frozen]) -> Frozen:
    """Join complete training clips with the test clips of all sets, so that one training serves every set."""
    tests = [one.features("test", "test") for one in less]
    columns = zip(*((t.x.mean(1, keepdim=True), t.label, t.index) for t in tests), strict=True)
    joined = Features(*(torch.cat(column) for column in columns))
    mixed = copy.copy(whole)
    mixed.cache = {**whole.cache, ("test", "test", 0): joined}
    return mixed


def _split(scores: Scores, n: int) -> list[Scores]:
    columns = (torch.chunk(column, n) for column in (scores.logits, scores.label, scores.index))
    return [replace(scores, logits=logits, label=label, index=index, best_epoch_top1=None)
            for logits, label, index in zip(*columns, strict=True)]  # fmt: skip


def _encoder_does(encoder: nn.Module, how: str) -> str:
    """Say how the encoder handles lost joints: without a graph or tokens it cannot remove any and zeroes them."""
    return str(getattr(encoder, "ignores", "removes")) if how == "drop" else "sees zeros"


def _drawn(names: list[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: blake2b(f"{seed}/{name}".encode(), digest_size=8).digest())


def _counts(value: object, top: int) -> bool:
    return isinstance(value, list) and all(type(n) is int and 1 <= n <= top for n in value)
