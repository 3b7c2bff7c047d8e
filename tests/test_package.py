"""What a user without a checkout gets."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from skelssl.cli.help import COMMANDS
from tests.helpers.page import figures

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "site")
    return wheel.parent / "site"


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The ``bin`` of a fresh environment with the wheel alone; what it depends on is lent by the running one."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, env=plain())
    (site,) = home.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not followed
    return home / "bin"


def plain():
    """The environment without anything that would lead back to the checkout."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SKELSSL"))}
    return {**own, "OMP_NUM_THREADS": "1", "COLUMNS": "190"}


def test_the_wheel_holds_every_data_file_of_the_checkout(unpacked):
    def names(folder):
        kept = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return {str(p.relative_to(folder)) for p in kept}

    assert names(unpacked / "skelssl" / "conf") == names(ROOT / "conf")
    assert names(unpacked / "skelssl") - {f"conf/{n}" for n in names(ROOT / "conf")} == names(ROOT / "src" / "skelssl")


def test_commands_of_the_wheel_use_its_own_configuration(unpacked, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); import json, skelssl.cli.app as e; from hydra import *; "
        "initialize_config_dir(str(e.config_dir()), version_base='1.3'); "
        "print(json.dumps([str(e.config_dir()), compose('train').method.name]))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [str(unpacked / "skelssl" / "conf"), "pstl"]


def test_the_demo_from_an_empty_folder(installed, tmp_path):
    """Train, evaluate and report, with nothing but the wheel."""

    def skelssl(*words):
        done = subprocess.run(
            [installed / "skelssl", *words], cwd=tmp_path, env=plain(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    tiny = ("debug=smoke", "dataset.source.classes=4", "dataset.source.subjects=4")
    assert "linear   top-1" in skelssl("train", "experiment=demo", *tiny, "hydra.run.dir=run")
    assert "retrieval" in skelssl("evaluate", "protocol=retrieval", "checkpoint=run", "debug=smoke")
    assert "pstl" in skelssl("report", "run", "--html", "report.html")
    files = {"data", "run", "report.html"}
    if "embed" in COMMANDS:
        (tmp_path / "clips").mkdir()
        clip = np.random.default_rng(0).normal(size=(40, 25, 3)).astype(np.float32)
        np.save(tmp_path / "clips" / "wave.npy", clip)
        skelssl("embed", "checkpoint=run", "raw=clips", "out=features.npz")
        with np.load(tmp_path / "features.npz", allow_pickle=False) as features:
            assert any(np.isfinite(features[name]).all() for name in features.files if features[name].ndim == 2)
        skelssl("export", "checkpoint=run", "out=export")
        assert {"encoder.safetensors", "config.json", "MODEL_CARD.md"} <= {
            f.name for f in (tmp_path / "export").iterdir()
        }
        files |= {"clips", "features.npz", "export"}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert json.loads((tmp_path / "run" / "run.json").read_text())["git_commit"] is None  # of no checkout
    assert {p.parent.parent.name for p in tmp_path.rglob("result.json")} == {"linear", "knn", "retrieval"}
    assert figures((tmp_path / "report.html").read_text("utf-8"), "curves")
    where = [installed / "python", "-c", "import skelssl; print(skelssl.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=plain(), capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(installed.parent)


def test_nothing_in_the_project_names_a_machine():
    found = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no git checkout")
    homes = tuple(f"/{name}/" for name in ("work", "root", "home", "Users", "farm"))
    for name in filter(None, found.stdout.split("\0")):
        text = (ROOT / name).read_text("utf-8", errors="ignore") if (ROOT / name).exists() else ""
        if name != "tests/test_package.py":
            assert not [h for h in homes if f" {h}" in text or f'"{h}' in text or f"={h}" in text], name
