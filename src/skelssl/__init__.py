"""Self-supervised encoders of human skeleton motion.

>>> import skelssl
>>> sorted(skelssl.__all__)
['UserError', 'load_encoder']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skelssl.errors import UserError

if TYPE_CHECKING:
    from skelssl.checkpoints import load_encoder

__all__ = ["UserError", "load_encoder"]


def __getattr__(name: str) -> Any:
    # Late, so that the processes which only parse text need not load torch.
    if name == "load_encoder":
        from skelssl.checkpoints import load_encoder

        return load_encoder
    raise AttributeError(f"module 'skelssl' has no attribute {name!r}")
