"""Self-supervised encoders of human skeleton motion.

>>> import skelssl
>>> sorted(skelssl.__all__)
['Index', 'UserError', 'embed', 'export_encoder', 'load_encoder', 'pretrain', 'run_protocol', 'run_protocols']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from skelssl.core.errors import UserError

if TYPE_CHECKING:
    from skelssl.api import pretrain, run_protocol, run_protocols
    from skelssl.pretrained.embed import embed
    from skelssl.pretrained.export import export_encoder
    from skelssl.pretrained.index import Index
    from skelssl.pretrained.load import load_encoder

__all__ = [
    "Index", "UserError", "embed", "export_encoder", "load_encoder", "pretrain", "run_protocol", "run_protocols",
]  # fmt: skip

# Late, so that the processes which only parse text need not load torch.
_MODULES = {
    "Index": "pretrained.index", "embed": "pretrained.embed", "export_encoder": "pretrained.export",
    "load_encoder": "pretrained.load", "pretrain": "api", "run_protocol": "api", "run_protocols": "api",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"skelssl.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'skelssl' has no attribute {name!r}")
