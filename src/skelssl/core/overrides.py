"""Write values the way Hydra's grammar reads them, and split lists of paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH_KEYS = (
    "raw", "import", "names", "checkpoint", "data_root", "resume", "name", "html", "hydra.run.dir",
    "out", "index", "query", "save", "layout",
    "dataset.layout", "dataset.source.missing",
)  # fmt: skip


def quote_path(argument: str) -> str:
    """Quote the value of a path key, since Hydra's parser trips over blanks, commas, ``=`` and parentheses.

    >>> quote_path("raw=a (1).zip,b=2.zip"), quote_path("method=pstl"), quote_path("checkpoint=[a b,c=d]")
    ("raw='a (1).zip,b=2.zip'", 'method=pstl', "checkpoint=['a b','c=d']")
    """
    key, equals, value = argument.partition("=")
    written = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    is_list = value.startswith("[") and value.endswith("]") and not _exists(value)
    plain = value.lower() in ("", "null", "true", "false", "???")
    if not equals or key.lstrip("+~") not in PATH_KEYS or written or plain:
        return argument
    if not is_list:
        return f"{key}={quoted(value)}"
    if re.search(r"""(^|,)\s*['"]""", value[1:-1]):  # written for Hydra's parser already
        return argument
    return f"{key}=[{','.join(quoted(path) for path in split_at_commas(value[1:-1]))}]"


def split_at_commas(text: str) -> list[str]:
    """Split ``A, B`` at its commas, except at those in the name of something that exists; the longest name wins."""
    pieces, paths = text.split(","), []
    while pieces:
        joined = [",".join(pieces[:n]) for n in range(len(pieces), 0, -1)]
        name = next((name for name in joined if name.strip() and (_exists(name) or _exists(name.strip()))), pieces[0])
        paths.append(name if _exists(name) else name.strip())
        del pieces[: name.count(",") + 1]
    return paths


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError):  # too long a name, or the home of an unknown user
        return False


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Write dotted keys and their Python values as the arguments of a command line.

    >>> as_overrides({"method.optim.lr": 1e-05, "method.csm": None, "seeds": [0, 1], "debug": "smoke", "k": "a b"})
    ['method.optim.lr=1e-05', 'method.csm=null', 'seeds=[0,1]', 'debug=smoke', "k='a b'"]
    """
    return [f"{key}={_written(value)}" for key, value in values.items()]


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z_][\w/-]*", text) and text.lower() not in ("null", "true", "false", "nan", "inf")
    return text if plain else quoted(text)


def quoted(text: str) -> str:
    """Quote a text so that Hydra's parser takes it, whatever characters are in it."""
    # A backslash is an escape only before a quote, the closing one included.
    escaped = re.sub(r"(\\+)('|$)", r"\1\1\2", text).replace("'", "\\'")
    return f"'{escaped}'"
