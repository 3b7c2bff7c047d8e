"""Check that a configuration from elsewhere builds nothing but the parts of an encoder or a run."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from skelssl.core.errors import UserError

# Plain classes that only keep their arguments.
PARTS = ("skelssl.maskers.", "skelssl.momentum", "skelssl.losses.", "skelssl.data.ntu.", "skelssl.data.pku.",
         "skelssl.data.custom.", "skelssl.data.synthetic.")  # fmt: skip


def check_target(block: Any, trust: Collection[str] = ()) -> None:
    """Raise UserError for a ``_target_`` anywhere in ``block`` that is no nn.Module (or known plain part) of skelssl
    or of a package in ``trust``, and for interpolations, which could build anything while they are resolved.
    """
    if isinstance(block, str) and "${" in block:
        raise UserError(f"config: found the interpolation {block!r}, expected plain values in a file from elsewhere")
    for value in block.values() if isinstance(block, Mapping) else block if isinstance(block, list) else ():
        check_target(value, trust)
    if isinstance(block, Mapping) and "_target_" in block:
        _check(str(block["_target_"]), trust)


def _check(target: str, trust: Collection[str]) -> None:
    package, _, name = target.rpartition(".")
    if target.split(".")[0] not in {"skelssl", *trust}:
        raise UserError(f"_target_: found {target}, expected a module under skelssl or a package named in trust=[...]")
    try:
        found = getattr(importlib.import_module(package), name, None)
    except ImportError:
        found = None
    known = isinstance(found, type) and (issubclass(found, nn.Module) or found.__module__.startswith(PARTS))
    if not known and target.split(".")[0] not in trust:
        raise UserError(f"_target_: found {target}, expected the name of an nn.Module")
