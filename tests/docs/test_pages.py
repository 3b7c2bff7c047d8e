"""Every command, option, file and link that the pages name is there, and composes."""

from __future__ import annotations

import importlib
import re
import tomllib

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from skelssl.core.compose import composed
from skelssl.core.overrides import quote_path
from tests.helpers.pages import ROOT, SHELL, blocks, commands, pages

COMPOSED = ("train", "evaluate", "prepare", "explore", "embed", "search", "export", "tune")
OF_A_FOLDER = "hydra.searchpath"  # such commands need the files of their page: test_worked_examples.py runs them


def module_and_words(words: list[str]) -> tuple[str, list[str]] | None:
    """``python -m skelssl.train a=b`` and its kin, whatever starts it -> ``train``, ``[a=b]``."""
    for at, word in enumerate(words):
        if word.startswith("skelssl.") and words[at - 1] == "-m":
            return word.removeprefix("skelssl."), words[at + 1 :]
        if word == "skelssl" and at + 1 < len(words) and re.fullmatch(r"[a-z]+", words[at + 1]):
            return words[at + 1], words[at + 2 :]
    return None


def named() -> list[tuple[str, str, tuple[str, ...]]]:
    """(page, module, arguments) of every command of ours."""
    found = []
    for page in pages():
        for words in commands(page):
            if (call := module_and_words(words)) and "docker" not in words:
                found.append((page.name, call[0], tuple(call[1])))
    return list(dict.fromkeys(found))


NAMED = named()


def first_of_each(arguments: tuple[str, ...]) -> list[str]:
    """The first cell of a sweep; without ``-m`` the arguments themselves."""
    parser, given = OverridesParser.create(), [quote_path(a) for a in arguments if a not in ("-m", "--multirun")]
    if len(given) == len(arguments):
        return given
    parsed = [parser.parse_override(text) for text in given]
    return [f"{o.key_or_group}={next(iter(o.sweep_string_iterator()))}" if o.is_sweep_override() else text
            for o, text in zip(parsed, given, strict=True)]  # fmt: skip


def test_the_pages_name_many_commands() -> None:
    assert len(NAMED) > 80
    assert {module for _, module, _ in NAMED} >= {*COMPOSED, "report", "dashboard"}


@pytest.mark.parametrize(("page", "module", "arguments"), NAMED, ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_every_command_composes(page: str, module: str, arguments: tuple[str, ...]) -> None:
    if module not in COMPOSED:
        taken = set(re.findall(r"--[a-z][a-z-]*", help_of(module)))
        assert {word for word in arguments if word.startswith("--")} <= taken
        return
    if any(word.startswith(OF_A_FOLDER) for word in arguments):
        assert page.startswith("add_")
        return
    own = [word for word in arguments if module == "tune" and word.lstrip("+~").startswith("tune.")]
    composed("train" if module == "tune" else module, first_of_each(tuple(w for w in arguments if w not in own)))
    composed(module, own) if own else None


def help_of(module: str) -> str:
    """What ``--help`` of a plain command would say of its options: they stand in its source."""
    source = importlib.import_module(f"skelssl.cli.{module}").__file__
    assert source
    text = (ROOT / source).read_text("utf-8")
    return text + "--markdown --json --html"  # made in a loop


def test_extras_and_targets_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in pages():
        text = page.read_text("utf-8")
        for extra in re.findall(r"skelssl\[(\w+)\]", text):
            assert extra in project["optional-dependencies"], (page, extra)
        for words in commands(page):
            if words[0] == "make":
                assert words[1] in targets, (page, words)


def test_files_in_the_papers_tables_exist() -> None:
    for page in (ROOT / "docs" / "papers").glob("*.md"):
        names = re.findall(r"`((?:\w+/)*\w+\.(?:py|yaml))`", page.read_text("utf-8"))
        assert len(names) > 5
        for name in names:
            assert any((folder / name).is_file() for folder in (ROOT / "src" / "skelssl", ROOT)), (page, name)


def test_every_block_is_of_a_known_kind() -> None:
    kinds = {block.language for page in pages() for block in blocks(page)}
    assert kinds <= {*SHELL, "python", "yaml"}
