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
    from skelssl.checkpoints import load_encoder
    from skelssl.embedding import embed
    from skelssl.exporting import export_encoder
    from skelssl.library import pretrain, run_protocol, run_protocols
    from skelssl.neighbours import Index

__all__ = [
    "Index", "UserError", "embed", "export_encoder", "load_encoder", "pretrain", "run_protocol", "run_protocols",
]  # fmt: skip

# Late, so that the processes which only parse text need not load torch.
_MODULES = {
    "Index": "neighbours", "embed": "embedding", "export_encoder": "exporting", "load_encoder": "checkpoints",
    "pretrain": "library", "run_protocol": "library", "run_protocols": "library",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"skelssl.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'skelssl' has no attribute {name!r}")
