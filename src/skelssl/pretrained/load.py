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
    """An encoder in eval mode: ``(N, 3, T, V, M) -> (N, D)``.

    ``path`` is a run folder, its ``encoder/`` folder, or, with ``source`` (one of ``SOURCES``), a state dict
    released elsewhere. Such a file has the recipe, views and probes of ``method``, a resolved method block, else those
    of its source for NTU RGB+D 60. ``representation`` picks one encoder of several (``seq``, ``graph``, ``image``), or
    all of them with ``concat_l2``: their features, each of length 1, side by side.
    ``overrides`` replace arguments of the encoder (``hidden=64``); the views of a file from elsewhere follow them
    (``frames=120``) where ``method`` does not give them. The module carries ``recipe`` (dict), ``view``
    (``probe`` and ``test`` views by name), ``layout`` (Layout), ``coordinates`` (xyz or xyc), ``probe`` (recipes of the
    protocols) and ``about``.
    Raises UserError for a file of another format or shape, and for a module outside skelssl and ``trust``.
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
    """The encoder that ``config.json`` describes, freshly drawn from torch's generator."""
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
    """Loads strictly; one sentence names the first tensor that does not fit."""
    own = encoder.state_dict()
    for key in [*own, *state]:
        found, expected = state.get(key), own.get(key)
        if found is None or expected is None or found.shape != expected.shape:
            shapes = ["no such tensor" if t is None else f"shape {tuple(t.shape)}" for t in (found, expected)]
            raise UserError(f"{path}: {key}: found {shapes[0]}, expected {shapes[1]}")
    if all(value.dtype == torch.float64 for value in state.values() if value.is_floating_point()):
        encoder.double()  # a file in double precision keeps it
    encoder.load_state_dict(state)
