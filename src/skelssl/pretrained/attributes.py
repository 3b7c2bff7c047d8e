"""Give a loaded encoder what is needed to use it, and read that back with types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from skelssl.core.errors import UserError
from skelssl.skeleton.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What an encoder of `load_encoder` carries as attributes, so that a protocol needs nothing but it and a dataset.

    They are plain attributes of the module rather than a module around it, which would rename every parameter.
    """

    recipe: Mapping[str, Any]  # block of the configuration: raw bodies -> arrays
    view: Mapping[str, nn.Module]  # ``probe`` and ``test``: batch -> clips (N·K, C, T', V, M)
    layout: Layout
    coordinates: str  # xyz | xyc
    probe: Mapping[str, Any]  # the paper's recipes by protocol
    about: dict[str, Any]  # all of ``config.json``

    @classmethod
    def of(cls, encoder: nn.Module) -> Pretrained:
        """Read the attributes of ``encoder``; raises UserError unless `load_encoder` or `build_encoder` made it."""
        if not hasattr(encoder, "about"):
            raise UserError(f"encoder: found {type(encoder).__name__}, expected what skelssl.load_encoder gives")
        return cls(**{field.name: getattr(encoder, field.name) for field in fields(cls)})

    def attach(self, encoder: nn.Module) -> None:
        """Set the attributes on ``encoder``."""
        for name, value in vars(self).items():
            setattr(encoder, name, value)
