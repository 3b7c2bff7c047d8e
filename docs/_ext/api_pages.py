"""The API reference: one page for the names one types, one for each folder of the package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import defaultdict
from types import ModuleType

import skelssl

TOP = "api"
HIDDEN = ("skelssl.__main__",)


def modules() -> list[str]:
    """Every public module of the package, sorted."""
    found = (info.name for info in pkgutil.walk_packages(skelssl.__path__, "skelssl."))
    return sorted(name for name in found if name not in HIDDEN and not name.rpartition(".")[2].startswith("_"))


def folder_of(module: str) -> str:
    """``skelssl.encoders.gru`` -> ``encoders``; what lies beside the folders is ``skelssl``."""
    parts = module.split(".")
    is_package = len(parts) == 2 and hasattr(importlib.import_module(module), "__path__")
    return parts[1] if len(parts) > 2 or is_package else "skelssl"


def pages() -> dict[str, str]:
    """File name -> Markdown."""
    folders: dict[str, list[str]] = defaultdict(list)
    for module in modules():
        if has_members(importlib.import_module(module)):
            folders[folder_of(module)].append(module)
    own = {f"api_{folder}.md": _folder_page(folder, found) for folder, found in sorted(folders.items())}
    return {f"{TOP}.md": _top_page(sorted(own)), **own}


def has_members(module: ModuleType) -> bool:
    """Does it say or define anything? An empty ``__init__`` does not."""
    return bool(module.__doc__) and any(
        inspect.getmodule(value) is module for name, value in vars(module).items() if not name.startswith("_")
    )


def _top_page(others: list[str]) -> str:
    directives = [_directive(name) for name in skelssl.__all__]
    tree = ["```{toctree}", ":maxdepth: 1", "", *(name.removesuffix(".md") for name in others), "```"]
    intro = "What `import skelssl` offers; everything else lies in the folders below and may move between versions."
    return "\n".join(["# Python API", "", intro, "", *_rst(directives), "", "## By folder", "", *tree, ""])


def _directive(name: str) -> str:
    kind = "autoclass" if inspect.isclass(getattr(skelssl, name)) else "autofunction"
    return f".. {kind}:: skelssl.{name}"


def _folder_page(folder: str, found: list[str]) -> str:
    title = "# Commands and shared parts" if folder == "skelssl" else f"# `skelssl.{folder}`"
    lines = [title, ""]
    for module in found:
        package, _, name = module.rpartition(".")
        shadowed = not isinstance(getattr(importlib.import_module(package), name), ModuleType)  # by what it defines
        options = ["   :members:", *(["   :no-index:"] if shadowed else [])]
        lines += [f"## `{module}`", "", *_rst([f".. automodule:: {module}", *options]), ""]
    return "\n".join(lines)


def _rst(lines: list[str]) -> list[str]:
    return ["```{eval-rst}", *lines, "```"]
