"""What a user without a checkout gets."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_data_file_of_the_checkout(unpacked):
    def names(folder):
        kept = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return {str(p.relative_to(folder)) for p in kept}

    assert names(unpacked / "skelssl" / "conf") == names(ROOT / "conf")
    assert names(unpacked / "skelssl") - {f"conf/{n}" for n in names(ROOT / "conf")} == names(ROOT / "src" / "skelssl")


def test_commands_of_the_wheel_use_its_own_configuration(unpacked, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); import json, skelssl.entry as e; from hydra import *; "
        "initialize_config_dir(str(e.config_dir()), version_base='1.3'); "
        "print(json.dumps([str(e.config_dir()), compose('train').method.name]))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [str(unpacked / "skelssl" / "conf"), "pstl"]


def test_nothing_in_the_project_names_a_machine():
    found = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no git checkout")
    homes = tuple(f"/{name}/" for name in ("work", "root", "home", "Users", "farm"))
    for name in filter(None, found.stdout.split("\0")):
        text = (ROOT / name).read_text("utf-8", errors="ignore") if (ROOT / name).exists() else ""
        if name != "tests/test_package.py":
            assert not [h for h in homes if f" {h}" in text or f'"{h}' in text or f"={h}" in text], name
