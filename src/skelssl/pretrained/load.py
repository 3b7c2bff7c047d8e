"""Load an encoder: from a run folder, an export, or a file that others released."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.pretrained.attributes import Pretrained
from skelssl.pretrained.files import read_own
from skelssl.pretrained.foreign import read_foreign
from skelssl.pretrained.trust import check_target
from skelssl.skeleton.layout import load_layout


def load_encoder(
    path: str | Path,
    source: str | None = None,
    representation: str | None = None,
    *,
    method: Mapping[str, Any] | None = None,
    trust: Collection[str] = (),
    stream: str = "joint",
    **overrides: Any,
) -> nn.Module:
    """Load an encoder in eval mode: clips (N, 3, T', V, M) -> features (N, D).

    The module carries what `Pretrained` lists: ``recipe``, ``view``, ``layout``, ``coordinates``, ``probe``, ``about``.

    Args:
        path: a run folder, its ``encoder/``, an export, or, with ``source``, a state dict that others released.
        source: the code base of such a file, one of ``SOURCES``.
        representation: one encoder of several (``seq``, ``graph``, ``image``, ``student``), or ``concat_l2`` for all of
            them: their features, each of length 1, side by side. By default the method's default encoder.
        method: a resolved method block with the recipe, views and probes of a file with ``source``; by default those
            of its source for NTU RGB+D 60.
        trust: packages besides skelssl whose modules may be built.
        stream: of a file with ``source``: ``joint``, ``motion`` or ``bone``.
        overrides: arguments of the encoder to replace (``hidden=64``); the views of a file with ``source`` follow them
            (``frames=120``) unless ``method`` gives them.

    Raises:
        UserError: for a file of another format or shape, and for a module outside skelssl and ``trust``.
    """
    path = Path(path)
    if source:
        about, state = read_foreign(path, source, representation, stream, overrides, method)
    else:
        about, state = read_own(path, representation)
    about = {**about, "encoder": {**about["encoder"], **overrides}}
    encoder = build_encoder(about, trust)
    _load(encoder, state, path)
    return encoder


def build_encoder(about: Mapping[str, Any], trust: Collection[str] = ()) -> nn.Module:
    """Build the encoder that ``config.json`` describes, randomly initialised from torch's generator."""
    encoder = _build(about["encoder"], trust)
    Pretrained(
        recipe=about["recipe"], layout=load_layout(about["layout"]), coordinates=about.get("coordinates", "xyz"),
        probe=about["probe"], about=dict(about),
        view={name: _build(about["view"][name], trust) for name in ("probe", "test")},
    ).attach(encoder)  # fmt: skip
    return encoder.eval()


def _build(block: Mapping[str, Any], trust: Collection[str]) -> nn.Module:
    check_target(block, trust)
    module: nn.Module = instantiate(dict(block), _convert_="all")
    return module


def _load(encoder: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load all tensors; raises UserError that names the first one that does not fit."""
    own = encoder.state_dict()
    for key in [*own, *state]:
        found, expected = state.get(key), own.get(key)
        if found is None or expected is None or found.shape != expected.shape:
            shapes = ["no such tensor" if t is None else f"shape {tuple(t.shape)}" for t in (found, expected)]
            raise UserError(f"{path}: {key}: found {shapes[0]}, expected {shapes[1]}")
    if all(value.dtype == torch.float64 for value in state.values() if value.is_floating_point()):
        encoder.double()  # a file in double precision keeps it
    encoder.load_state_dict(state)
