"""One entry for every command: quoted paths in, one sentence and exit code 2 on a user's mistake."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from skelssl.errors import RankError, Stopped, UserError

# Three are names of public functions, or could be: no module of the package itself may bear them.
COMMANDS = {name: f"skelssl.{name}" for name in ("prepare", "train", "evaluate", "report", "explore")} | {
    name: f"skelssl.commands.{name}" for name in ("embed", "search", "export")} | {
    name: f"skelssl.{name}" for name in ("tune", "dashboard")}  # fmt: skip
FILES = (FileExistsError, NotADirectoryError, PermissionError)
MISTAKES = (UserError, RankError, HydraException, OmegaConfBaseException, *FILES)
PATH_KEYS = (
    "raw", "import", "names", "checkpoint", "data_root", "resume", "name", "html", "hydra.run.dir",
    "out", "index", "query", "save", "layout",
    "dataset.layout", "dataset.source.missing",
)  # fmt: skip


def config_dir() -> Path:
    """``conf/`` of the checkout in an editable install, else the copy shipped in the wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent.parent / "conf"
    return checkout if package.parent.name == "src" and checkout.is_dir() else package / "conf"


def config_files(group: str) -> dict[str, Path]:
    """Name -> file of each choice of a group: ours, and inside of a command those that ``hydra.searchpath`` adds."""
    added = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else ()
    folders = [config_dir(), *(Path(source.path) for source in added if source.schema == "file")]
    files = [file for folder in reversed(folders) for file in (folder / group).glob("*.yaml")]
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}  # of one name ours, as for Hydra


def run_hydra(config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Composes ``conf/<config_name>.yaml`` from the command line and runs ``task``; never returns normally on error."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(config_name, inspect.getdoc(inspect.getmodule(task)) or ""))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of Hydra's own exit
    sys.argv = [sys.argv[0], *(quote_path(a) for a in sys.argv[1:])]
    mistakes: list[Exception] = []
    parent = os.getpid()

    def job(config: DictConfig) -> None:
        try:
            task(config)
        except MISTAKES as error:
            if os.getpid() != parent:  # a launcher's worker: the exception is its only way home, without its cause
                if isinstance(error, RankError):
                    raise
                raise UserError(sentence(error, config_name)) from error
            mistakes.append(error)  # in a sweep the other jobs still run, and Hydra adds no words of its own

    def jobs() -> None:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(job)()
        for error in mistakes[:-1]:
            print(f"error: {sentence(error, config_name)}", file=sys.stderr)
        if mistakes:
            raise mistakes[-1]

    _guarded(jobs, config_name)


def composed(config_name: str, overrides: Sequence[str], *, hydra_too: bool = False) -> DictConfig:
    """``conf/<config_name>.yaml`` with ``overrides``, as a command would have it, and not resolved.

    ``hydra_too`` keeps the key ``hydra``, which says what was chosen and overridden.
    """
    if GlobalHydra.instance().is_initialized():  # inside of a command, on the same ``conf/``
        return hydra.compose(config_name, list(overrides), return_hydra_config=hydra_too)
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra.compose(config_name, list(overrides), return_hydra_config=hydra_too)


def help_text(config_name: str, about: str) -> str:
    """What a command does, with examples; the groups it chooses from, and its keys with their defaults and comments.

    ``about`` is the docstring of its module, the rest stands in ``conf/<config_name>.yaml``.
    """
    text = (config_dir() / f"{config_name}.yaml").read_text("utf-8")
    head, _, rest = text.partition("\n\n")  # the defaults list ends at the first blank line
    # A group whose name is made of others' is chosen by itself.
    groups = re.findall(r"^  - (?:optional )?(\w+): ([^\s$]+)(?: *# (.*))?$", head, re.MULTILINE)
    choices = [_choice(*group) for group in groups if _options(group[0])]
    keys, _, _ = rest.partition("\nhydra:")
    module = COMMANDS.get(config_name, f"skelssl.{config_name}")
    parts = [
        about,
        f"usage: skelssl {config_name} KEY=VALUE ...      or: python -m {module} KEY=VALUE ...",
        "Choices, and which one is taken:\n" + "\n".join(choices),
        "Keys and their defaults (???: must be given):\n" + textwrap.indent(keys.strip(), "  "),
        "-m before the keys runs every combination of KEY=A,B. debug=trace shows where an error came from. Everything\n"
        f"else that can be set, such as method.optim.epochs=10, stands in {config_dir()}",
    ]
    return "\n\n".join(parts)


def _choice(group: str, taken: str, comment: str) -> str:
    """A line of the help: a group, what it is for, and its choices."""
    said = f"  {group}={'...' if taken == '???' else taken}" + (f"  # {comment}" if comment else "")
    return (
        f"{said}\n{textwrap.fill(' '.join(_options(group)), 116, initial_indent='      ', subsequent_indent='      ')}"
    )


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def run_plain(task: Callable[[list[str]], None], config_name: str | None = None) -> None:
    """Runs a command that Hydra does not start; ``config_name`` is the configuration that it composes, if any."""
    _guarded(lambda: task(sys.argv[1:]), config_name)


def _guarded(call: Callable[[], None], config_name: str | None) -> None:
    try:
        call()
    except MISTAKES as error:
        if any(a.replace(" ", "") == "debug=trace" for a in sys.argv):
            traceback.print_exc()
        print(f"error: {sentence(error, config_name)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", UserError.exit_code))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(Stopped.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


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


def sentence(error: Exception, config_name: str | None, arguments: Sequence[str] | None = None) -> str:
    """One sentence for an error: the key or file, what was found, what was expected.

    ``arguments`` are those of the command line unless they are given.
    """
    cause: BaseException | None = error
    while cause is not None:  # a part's own sentence, wrapped by what tried to build it
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
    """Names the keys that stand beside the wrong one, the likeliest first."""
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


def overview() -> str:
    """The commands, each with the first sentence of its module."""
    lines = [f"  {name:10s} {_first_sentence(module)}" for name, module in COMMANDS.items()]
    return "\n".join(["usage: skelssl COMMAND KEY=VALUE ...", "", *lines, "", "skelssl COMMAND --help explains one."])


def _first_sentence(module: str) -> str:
    """Read from the file: to import every command would take seconds."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    about = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return about.partition("\n\n")[0].replace("\n", " ")


def main() -> None:
    """``skelssl <command> ...``, the same commands as ``python -m skelssl.<command>``."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        print(overview())
        return
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        print(f"error: command: found {command!r}{hint}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(UserError.exit_code)
    sys.argv = [f"skelssl {command}", *sys.argv[2:]]
    importlib.import_module(COMMANDS[command]).main()
