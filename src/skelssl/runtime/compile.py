"""Compile the parts that a method names with torch.compile, in place (``compile=true``).

The LightningModule itself stays as it is, and so do all modules and their names: a checkpoint of a compiled run loads
into a plain one and the reverse. Dropout inside a compiled part draws other numbers than in a plain one, from the same
distribution.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys

import torch
import torch._dynamo
from torch import nn

from skelssl.core.errors import UserError

VARIANTS = 64  # forms of one function that are compiled before it is left plain: a stack's blocks differ in width


def check_compiler() -> None:
    """Raise UserError where there is no C++ compiler, which torch.compile calls for CPU and GPU alike."""
    command = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which((shlex.split(command) or [""])[0]) is None:
        raise UserError(
            f"compile: found true and no C++ compiler {command}, expected compile=false, or a compiler that the "
            "environment variable CXX may name"
        )


def compile_parts(parts: list[tuple[nn.Module, str]]) -> None:
    """Replace each function, given as a module and the name of one of its methods, by its compiled form."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    for part, name in parts:
        setattr(part, name, torch.compile(getattr(part, name)))
