"""Find the run folder of a configuration, claim it, and read its state."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, read_json
from skelssl.core.identity import identity, run_id

RUN_FILES = {
    "config.yaml",
    "metrics.csv",
    "checkpoints",
    "encoder",
    "eval",
    "run.json",
    "wandb",
    "tensorboard",
    "fit-profile.txt",
    ".lock",
}


def run_folder(config: Mapping[str, Any], override: str | None = None) -> Path:
    """Return ``outputs/<method>/<dataset>/<run id>``, or the folder that the user asked for."""
    if override is not None:
        return Path(override)
    return Path("outputs", config["method"]["name"], config["dataset"]["name"], run_id(config))


def check_same_run(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise UserError where the folder holds a run of another configuration."""
    if not (folder / "config.yaml").exists():
        if folder.exists() and not folder.is_dir():
            raise UserError(f"hydra.run.dir: found the file {folder}, expected a folder")
        return
    found, expected = identity(load_config(folder)), identity(config)
    keys = [k for k in sorted(found.keys() | expected.keys()) if found.get(k) != expected.get(k)]
    if keys:
        shown = "; ".join(f"{k}: found {found.get(k)}, expected {expected.get(k)}" for k in keys[:4])
        more = f" and {len(keys) - 4} more keys" if len(keys) > 4 else ""
        raise UserError(f"{folder} holds a run of another configuration ({shown}{more})")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.yaml``."""
    with atomic_file(folder / "config.yaml", "w") as file:
        file.write(OmegaConf.to_yaml(OmegaConf.create(dict(config))))


def remove_run(folder: Path) -> None:
    """Remove what a run has written, and nothing else."""
    for entry in RUN_FILES - {".lock"}:
        path = folder / entry
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def load_config(folder: Path) -> dict[str, Any]:
    """Return the resolved configuration of a run; raise UserError where there is none."""
    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder}: found no config.yaml, expected a run folder")
    try:
        # It was resolved when it was written, and a file from elsewhere must not make us evaluate anything.
        plain = OmegaConf.to_container(OmegaConf.create(path.read_text("utf-8")))
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(
            f"{path}: found malformed YAML ({' '.join(str(error).split())}), expected a run's own"
        ) from error
    if not isinstance(plain, dict):
        raise UserError(f"{path}: found {type(plain).__name__}, expected the configuration of a run")
    return {str(key): value for key, value in plain.items()}


def finished(folder: Path) -> bool:
    """Return whether the run has reached its last epoch."""
    path = folder / "run.json"
    return path.exists() and bool(read_json(path)["finished"])


def git_commit() -> str | None:
    """Return the commit of the package's checkout, ``-dirty`` with local changes; None for an installed wheel."""
    here = Path(__file__).resolve()
    root = next((p for p in here.parents if (p / ".git").exists() and (p / "src" / "skelssl") in here.parents), None)
    if root is None:
        return None
    run = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*run, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("-dirty" if dirty.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    packages = ("skelssl", "torch", "lightning", "numpy", "hydra-core")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
