"""Finds the clips that move most like a given one.

  skelssl search checkpoint=outputs/pstl/ntu60_xsub/RUN index=CLIPS query=CLIP.json k=5
  skelssl search checkpoint=RUN index=CLIPS query=CLIP.npy save=clips_index.npz

All clips are embedded as by ``skelssl embed``; an index that was saved is only read, and refused for an encoder that
did not make it. The figures are cosine similarities: 1 is the same direction, every clip is compared.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from skelssl.cli.app import run_hydra
from skelssl.cli.embed import opened, options
from skelssl.core.errors import UserError
from skelssl.data.custom.read import read_clips
from skelssl.pretrained.index import Index, is_index


def main() -> None:
    """Run the command."""
    run_hydra("search", search_command)


def search_command(config: DictConfig) -> None:
    """Prints the nearest clips of the index for every clip of ``query``."""
    encoder, place = opened(config), Path(str(config.index)).expanduser()
    told = options(config)
    if is_index(place):
        if config.save is not None:
            raise UserError(f"save: found {config.save} for {place}, which is an index already, expected null")
        index = Index.load(place, encoder)
    else:
        index = Index.build(read_clips(place, config.format), encoder, **told)
        if config.save is not None:
            index.save(Path(str(config.save)).expanduser())
    queries = read_clips(config.query, config.format)
    for name, hits in zip(queries, index.search_all(queries, config.k, **told), strict=True):
        print(name)
        for hit in hits:
            print(f"  {hit.similarity:6.3f}  {hit.name}")


if __name__ == "__main__":
    main()
