"""The Dockerfile, without an engine: its steps are those that people are told to take, and nothing that they need is
left out."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.helpers.pages import ROOT, commands

TEXT = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))


def steps(instruction: str) -> list[str]:
    """What follows each ``RUN``, ``COPY`` and so on."""
    return re.findall(rf"^{instruction} (.*)$", TEXT, re.MULTILINE)


def installs() -> list[list[str]]:
    """The words of its pip commands, less what the builder adds."""
    words = [shlex.split(step) for step in steps("RUN") if step.startswith("pip ")]
    return [[word for word in step if word != "$PIP_ARGS"] for step in words]


def test_it_installs_as_the_pages_and_the_makefile_say() -> None:
    (install,) = installs()
    assert install in commands(ROOT / "README.md")
    assert install in commands(ROOT / "docs" / "install.md")
    assert install in commands(ROOT / "docs" / "tutorial.md")
    (made,) = re.findall(r"-m pip install (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    words = [w for w in shlex.split(made) if w not in ("--quiet", "--disable-pip-version-check", "$(PIP_ARGS)")]
    assert install[:2] == ["pip", "install"]
    assert words == [w.replace(".", ".[dev]") if w == "." else w for w in install[2:]]
    assert "$PIP_ARGS" in TEXT
    assert 'ARG PIP_ARGS=""' in TEXT


def test_the_rest_is_a_user_without_rights() -> None:
    others = [step for step in steps("RUN") if not step.startswith("pip ")]
    assert [step.split()[0] for step in others] == ["useradd"]
    assert steps("USER") == ["skelssl"]
    assert TEXT.index("\nRUN pip") < TEXT.index("\nUSER ") < TEXT.index("\nENTRYPOINT ")
    assert steps("ENTRYPOINT") == ['["skelssl"]']


def test_what_it_copies_builds_the_package(tmp_path: Path) -> None:
    for step in steps("COPY"):
        *sources, target = step.split()
        for source in sources:
            place = tmp_path / target / source if target == "./" else tmp_path / target
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, place)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "skelssl/cli/app.py" in names
    assert "skelssl/conf/train.yaml" in names


def test_the_context_holds_what_it_copies() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert kept == {source for step in steps("COPY") for source in step.split()[:-1]}


def test_the_base_has_a_python_that_fits() -> None:
    (version,) = re.findall(r"^FROM python:(\d+)\.(\d+)-slim$", TEXT, re.MULTILINE)
    assert tuple(map(int, version)) >= (3, 11)
