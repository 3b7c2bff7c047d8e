"""Find the clips that move most like a given one.

  skelssl search checkpoint=outputs/pstl/ntu60_xsub/RUN index=CLIPS query=CLIP.json k=5
  skelssl search checkpoint=RUN index=CLIPS query=CLIP.npy save=clips_index.npz

All clips are embedded as by ``skelssl embed``. A saved index is read instead, and rejected for any encoder but the one
that made it. The values are cosine similarities, 1 for the same direction. Every clip is compared.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from skelssl.cli.app import run_hydra
from skelssl.cli.embed import embed_options, named_encoder
from skelssl.core.errors import UserError
from skelssl.data.custom.read import read_clips
from skelssl.pretrained.index import Index, is_index


def main() -> None:
    """Run the command."""
    run_hydra("search", search_command)


def search_command(config: DictConfig) -> None:
    """Print the nearest clips of the index for every clip of ``query``."""
    encoder, gallery = named_encoder(config), Path(str(config.index)).expanduser()
    options = embed_options(config)
    if is_index(gallery):
        if config.save is not None:
            raise UserError(f"save: found {config.save} for {gallery}, which is an index already, expected null")
        index = Index.load(gallery, encoder)
    else:
        index = Index.build(read_clips(gallery, config.format), encoder, **options)
        if config.save is not None:
            index.save(Path(str(config.save)).expanduser())
    queries = read_clips(config.query, config.format)
    for name, hits in zip(queries, index.search_all(queries, config.k, **options), strict=True):
        print(name)
        for hit in hits:
            print(f"  {hit.similarity:6.3f}  {hit.name}")


if __name__ == "__main__":
    main()
