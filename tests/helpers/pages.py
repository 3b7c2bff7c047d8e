"""The pages of docs/: their blocks of code, the files they show and the commands they name."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SHELL = ("", "bash", "sh", "console")
COMMAND = re.compile(r"(?:\w+=\S+ )*(?:python|pip|make|docker|torchrun|srun|skelssl)\b")  # other lines are pictures

# Runs the commands of one page one after the other, in one process: what loads is loaded once.
SESSION = """
import importlib, json, shlex, sys
from hydra.core.global_hydra import GlobalHydra
sys.path.insert(0, "")
for words in json.loads(sys.argv[1]):
    if words[:2] == ["python", "-m"]:
        sys.argv = words[2:]
        GlobalHydra.instance().clear()
        print("$", shlex.join(words), flush=True)
        importlib.import_module(words[2]).main()
    else:
        exec(open(words[1], encoding="utf-8").read(), {"__name__": "__main__"})
"""


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    file: str | None  # the name in backticks that stands before it


def pages() -> list[Path]:
    """Every page written by hand, the README among them."""
    found = [p for p in (ROOT / "docs").rglob("*.md") if not {"generated", "_build"} & set(p.parts)]
    return [ROOT / "README.md", *sorted(found)]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, directives left out."""
    text = page.read_text("utf-8")
    found = []
    for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```\s*$", text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()].rstrip().splitlines()
        named = re.fullmatch(r"`([\w./]+\.(?:py|yaml))`:", before[-1]) if before else None
        if not match[1].startswith("{"):
            found.append(Block(match[1].strip(), match[2], named[1] if named else None))
    return found


def commands(page: Path) -> list[list[str]]:
    """Words of every command on a page, comments and backslashes at ends of lines gone."""
    lines = [line for b in blocks(page) if b.language in SHELL for line in b.text.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if COMMAND.match(line)]


def write_files(page: Path, folder: Path) -> list[str]:
    """Writes the files that a page shows; returns their names."""
    shown = [block for block in blocks(page) if block.file]
    for block in shown:
        path = folder / str(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, "utf-8")
    return [str(block.file) for block in shown]


def run(session: list[list[str]], folder: Path) -> str:
    """Runs commands in ``folder`` one after the other; returns what they print. Fails where one does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "190"}
    words = [sys.executable, "-c", SESSION, json.dumps(session)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
