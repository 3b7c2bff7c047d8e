"""Find ``conf/``, compose it, and resolve what was composed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

# For defaults lists. family: the dataset that a split belongs to, pku1 of pku1_xsub; empty for what has no splits.
OmegaConf.register_new_resolver("family", lambda dataset: str(dataset).rpartition("_")[0], replace=True)
# sized: the file of a method at a scale, short_pstl; published without a scale.
OmegaConf.register_new_resolver(
    "sized", lambda scale, method: f"{scale}_{method}" if scale else "published", replace=True
)


def config_dir() -> Path:
    """Return ``conf/`` of the checkout in an editable install, else the copy in the wheel."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent.parent / "conf"
    return checkout if package.parent.name == "src" and checkout.is_dir() else package / "conf"


def config_files(group: str) -> dict[str, Path]:
    """Return name -> file of each option of a group: ours, and in a command those that ``hydra.searchpath`` adds."""
    added = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else ()
    folders = [config_dir(), *(Path(source.path) for source in added if source.schema == "file")]
    files = [file for folder in reversed(folders) for file in (folder / group).glob("*.yaml")]
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}  # of one name ours, as for Hydra


def composed(config_name: str, overrides: Sequence[str], *, hydra_too: bool = False) -> DictConfig:
    """Compose ``conf/<config_name>.yaml`` with ``overrides`` as a command would, without resolving it.

    ``hydra_too`` keeps the key ``hydra``, which lists the choices and the overrides.
    """
    if GlobalHydra.instance().is_initialized():  # inside of a command, on the same ``conf/``
        return hydra.compose(config_name, list(overrides), return_hydra_config=hydra_too)
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra.compose(config_name, list(overrides), return_hydra_config=hydra_too)


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain containers with every interpolation resolved."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items() if k != "hydra"}
