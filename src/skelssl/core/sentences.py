"""Turn an error into one sentence: the key or file, what was found, what was expected."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from skelssl.core.compose import composed
from skelssl.core.errors import RankError, UserError

FILES = (FileExistsError, NotADirectoryError, PermissionError)


MISTAKES = (UserError, RankError, HydraException, OmegaConfBaseException, *FILES)


def sentence(error: Exception, config_name: str | None, arguments: Sequence[str] | None = None) -> str:
    """Return one sentence for an error: the key or file, what was found, what was expected.

    ``config_name`` is the configuration that was composed, ``arguments`` default to those of the command line.
    """
    cause: BaseException | None = error
    while cause is not None:  # our own sentence, wrapped by Hydra's instantiate
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__
    if isinstance(error, FILES):
        return f"{error.filename}: {error.strerror}, expected a path with the rights to read and write there"
    text = str(error).strip()
    if launcher := re.search(r"Could not find 'hydra/launcher/(\w+)'", text):
        extra = "parallel" if launcher[1] == "joblib" else "slurm"
        return f"launcher: found no plugin {launcher[1]}, expected it installed: pip install 'skelssl[{extra}]'"
    if group := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        options = re.search(r"Available options in '[^']*':\n((?:\t.*\n?)+)", text)
        expected = ", ".join(options.group(1).split()) if options else "a config of that group"
        return f"{group.group(1)}: found {group.group(2)!r}, expected one of {expected}"
    if key := re.search(r"Could not (?:override|append to config[^']*|delete from config[^']*) '([^']+)'", text):
        return _unknown_key(key.group(1), config_name, sys.argv[1:] if arguments is None else arguments)
    if key := re.search(r"You must specify '([^']+)', e.g", text):
        options = re.search(r"Available options:\n((?:\t.*\n?)+)", text)
        return f"{key.group(1)}: not given, expected one of {', '.join(options.group(1).split()) if options else '...'}"
    if key := re.search(r"[Mm]issing mandatory value: (\S+)", text):
        return f"{key.group(1)}: not given, expected a value on the command line"
    return " ".join(text.split())


def _unknown_key(key: str, config_name: str | None, arguments: Sequence[str]) -> str:
    """Name the keys beside the unknown one, after the closest match."""
    parent, _, leaf = key.rpartition(".")
    try:
        groups = [a for a in arguments if re.fullmatch(r"(method|dataset|protocol)=\w+", a)]
        if config_name == "prepare" and not any(a.startswith("dataset=") for a in groups):
            groups.append("dataset=synthetic")
        node: DictConfig = composed(config_name or "", groups)
        node = OmegaConf.select(node, parent) if parent else node
        known = [str(k) for k in node]
    except Exception:  # the other arguments may be wrong as well; the key alone is still worth a sentence
        known = []
    close = difflib.get_close_matches(leaf, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    expected = f"expected one of {', '.join(known)}" if known else "expected a key of the configuration"
    return f"{key}: unknown key{hint}, {expected}"
