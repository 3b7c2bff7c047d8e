"""Write values the way Hydra's grammar reads them."""

from __future__ import annotations

import re
from pathlib import Path

PATH_KEYS = (
    "raw", "import", "names", "checkpoint", "data_root", "resume", "name", "html", "hydra.run.dir",
    "out", "index", "query", "save", "layout",
    "dataset.layout", "dataset.source.missing",
)  # fmt: skip


def quote_path(argument: str) -> str:
    """Quotes the value of a path key for Hydra's parser, which trips over blanks, commas, ``=`` and parentheses.

    >>> quote_path("raw=a (1).zip,b=2.zip"), quote_path("method=pstl"), quote_path("checkpoint=[a b,c=d]")
    ("raw='a (1).zip,b=2.zip'", 'method=pstl', "checkpoint=['a b','c=d']")
    """
    key, equals, value = argument.partition("=")
    written = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    is_list = value.startswith("[") and value.endswith("]") and not Path(value).exists()
    plain = value.lower() in ("", "null", "true", "false", "???")
    if not equals or key.lstrip("+~") not in PATH_KEYS or written or plain:
        return argument
    if not is_list:
        return f"{key}={quoted(value)}"
    if re.search(r"""(^|,)\s*['"]""", value[1:-1]):  # written for Hydra's parser already
        return argument
    return f"{key}=[{','.join(quoted(path) for path in _elements(value[1:-1]))}]"


def _elements(inside: str) -> list[str]:
    """The paths of a list: a comma parts two of them, unless it stands in the name of something that exists."""
    pieces, paths = inside.split(","), []
    while pieces:
        joined = [",".join(pieces[:n]).strip() for n in range(1, len(pieces) + 1)]
        n = next((n for n, path in enumerate(joined, 1) if path and Path(path).exists()), 1)
        paths.append(joined[n - 1])
        del pieces[:n]
    return paths


def quoted(path: str) -> str:
    """A text as Hydra's parser takes it, whatever stands in it."""
    # A backslash is an escape only before a quote, the closing one included.
    escaped = re.sub(r"(\\+)('|$)", r"\1\1\2", path).replace("'", "\\'")
    return f"'{escaped}'"
