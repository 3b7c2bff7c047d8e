"""``python -m skelssl.prepare dataset=ntu60 raw=PATH``: raw archives -> the parsed store and its report."""

from __future__ import annotations

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from skelssl.data.prepare import parsed_folder, prepare, split_paths
from skelssl.data.recipes import RecipeConfig
from skelssl.data.source import Source
from skelssl.entry import run_hydra
from skelssl.errors import UserError


def main() -> None:
    """Console entry."""
    run_hydra("prepare", run)


def run(config: DictConfig) -> None:
    """Parses, writes the splits, then derives the recipe stores asked for."""
    source: Source = instantiate(config.dataset.source, _convert_="all")
    raw = split_paths(config.raw)
    if not raw and not source.generated:
        raise UserError("raw: not given, expected the folder or zip with the raw recordings (several: raw=A,B)")
    if not isinstance(config.workers, int) or config.workers < 1:
        raise UserError(f"workers: found {config.workers!r}, expected a whole number of at least 1")
    if not isinstance(config.strict, bool):
        raise UserError(f"strict: found {config.strict!r}, expected true or false")
    names = [config.recipes] if isinstance(config.recipes, str) else config.recipes
    recipes = [RecipeConfig.parse({"name": name}) for name in names]
    root = Path(config.data_root)
    prepare(source, data_root=root, raw=raw, workers=config.workers, strict=config.strict)
    from skelssl.data.store import open_store  # brings torch, which the parsing processes must not wait for

    for recipe in recipes:
        open_store(parsed_folder(root, source), recipe)


if __name__ == "__main__":
    main()
