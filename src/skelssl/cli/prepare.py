"""Prepare a dataset from the command line: parse, derive recipes, import, verify."""

from __future__ import annotations

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from skelssl.core.errors import UserError
from skelssl.data.archives import unpacked
from skelssl.data.build.prepare import parsed_folder, prepare_dataset, split_paths
from skelssl.data.imports import imported
from skelssl.data.recipes import RecipeConfig
from skelssl.data.source import Source, coordinates_of


def prepare_command(config: DictConfig) -> None:
    """Parse, write the splits, and derive the requested recipe stores; with ``verify`` check what is prepared.

    Raises UserError for keys that do not fit together, and for recordings as `prepare` does.
    """
    source: Source = instantiate(config.dataset.source, _convert_="all")
    coordinates_of(source, config.dataset)
    raw, foreign = split_paths(config.raw), split_paths(config["import"])
    _check_keys(config, raw, foreign, source)
    names = [config.recipes] if isinstance(config.recipes, str) else config.recipes
    recipes = [RecipeConfig.published(name, config.dataset) for name in names]
    root = Path(config.data_root)
    folder = parsed_folder(root, source)
    settings = {"data_root": root, "workers": config.workers, "strict": config.strict}
    if foreign:
        listed = Path(config.names).expanduser() if config.names else None
        with imported(foreign, source, folder.parent, split=config.dataset.get("split"), names=listed) as clips:
            prepare_dataset(clips, raw=foreign, **settings)
    elif raw or not _only_reads(config):
        with unpacked(raw, folder.parent) as roots:
            prepare_dataset(source, raw=roots, **settings)
    from skelssl.data.build.verify import verify_dataset
    from skelssl.data.store import open_store  # brings torch, which the parsing processes must not wait for
    from skelssl.protocols.subsets import write_subset_lists

    for recipe in recipes:
        open_store(folder, recipe)
    if config.verify:
        verify_dataset(source, data_root=root, strict=config.strict)
    if config.subsets:
        lists = write_subset_lists(folder.parent, config.subsets)
        failed = sum(one["error"] is not None for one in lists)
        index = folder.parent / "subsets" / "index.json"
        print(f"{len(lists) - failed} labelled subsets; {failed} draws that leave out a class -> {index}")


def _only_reads(config: DictConfig) -> bool:
    """Return whether the keys ask for something that needs no raw recordings."""
    return bool(config.verify or config.subsets)


def _check_keys(config: DictConfig, raw: list[Path], foreign: list[Path], source: Source) -> None:
    if raw and foreign:
        raise UserError(f"import={foreign[0]}: found raw={raw[0]} as well, expected one of the two")
    if config.names is not None and not foreign:
        raise UserError(f"names={config.names}: found no import=PATH, expected names only beside an import")
    if not raw and not foreign and not source.generated and not _only_reads(config):
        raise UserError("raw: not given, expected the folder or zip with the raw recordings (several: raw=A,B)")
    if not isinstance(config.workers, int) or config.workers < 1:
        raise UserError(f"workers: found {config.workers!r}, expected a whole number of at least 1")
    if not isinstance(config.verify, bool):
        raise UserError(f"verify: found {config.verify!r}, expected true or false")
    if config.strict not in (None, True, False):
        raise UserError(f"strict: found {config.strict!r}, expected true, false or null")
