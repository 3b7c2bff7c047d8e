"""``skelssl.Index``: search a collection for the clips that move most like a query."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from skelssl.core.errors import UserError
from skelssl.core.files import result_file
from skelssl.data.custom.read import read_clips
from skelssl.data.poses import Poses
from skelssl.pretrained.attributes import Pretrained
from skelssl.pretrained.embed import embed, named_clips
from skelssl.pretrained.features import full_float32
from skelssl.pretrained.load import load_encoder
from skelssl.pretrained.nearest import nearest_rows

FORMAT = 1
CHUNK = 256  # queries at a time


class Hit(NamedTuple):
    """A clip of the collection, and the cosine similarity of its features to those of the query."""

    name: str
    similarity: float


class Index:
    """Features of a collection of clips, searched exactly: every query is compared with every clip.

    >>> import numpy, skelssl, torch
    >>> from skelssl.pretrained.load import build_encoder
    >>> from skelssl.pretrained.foreign import foreign_about
    >>> _ = torch.manual_seed(0)
    >>> encoder = build_encoder(foreign_about("pstl", encoder={"hidden": 2}))  # or load_encoder("outputs/pstl/.../RUN")
    >>> clips = {f"clip{i}": numpy.random.default_rng(i).normal(size=(20 + i, 25, 3)) for i in range(4)}
    >>> index = skelssl.Index.build(clips, encoder)
    >>> [hit.name for hit in index.search(clips["clip2"], k=1)]
    ['clip2']
    """

    def __init__(
        self, names: Sequence[str], features: NDArray[np.float32], digest: str, encoder: nn.Module | None = None
    ) -> None:
        """Keep features and what they belong to.

        Args:
            names: N of them.
            features: (N, D).
            digest: `digest_of` the encoder that computed them.
            encoder: that encoder, to embed queries with.

        Raises:
            UserError: for another number of names than features, and for an encoder of another digest.
        """
        if len(names) != len(features):
            raise UserError(f"names: found {len(names)} of them, expected {len(features)}, one for each clip")
        self.names, self.features, self.digest = list(names), np.asarray(features, np.float32), digest
        self.encoder = encoder
        if encoder is not None and digest_of(encoder) != digest:
            raise UserError(
                f"encoder: found one with the weights {digest_of(encoder)[:10]}, expected {digest[:10]}, which the "
                "features of the index are of"
            )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def build(
        cls, clips: Any, encoder: nn.Module | str | Path, names: Sequence[str] | None = None, **options: Any
    ) -> Index:
        """Embed a collection of clips.

        Args:
            clips: a folder or file of clips, a list, or a mapping from names to clips.
            encoder: of `load_encoder`, or a path for it.
            names: of the clips; by default those of the files, the mapping or `Poses`, or positions in the list.
            options: of ``skelssl.embed``: layout, fps, unit, batch, device.

        Raises:
            UserError: as ``embed`` does.
        """
        encoder = encoder if isinstance(encoder, nn.Module) else load_encoder(encoder)
        clips = read_clips(clips) if isinstance(clips, str | Path) else clips
        own = [name for name, _ in named_clips(clips, "{}")] if names is None else names
        return cls(own, embed(clips, encoder, **options), digest_of(encoder), encoder)

    def search(self, query: Any, k: int | None = None, **options: Any) -> list[Hit]:
        """Return the most similar clips, nearest first; ties keep the order of the collection.

        Args:
            query: a clip, the path of a file with one clip, or features (D,).
            k: number of hits; by default 5, or all clips of a smaller collection.
            options: of ``skelssl.embed``.

        Raises:
            UserError: for a clip in an index without an encoder, and for a ``k`` beyond the collection.
        """
        if isinstance(query, str | Path):
            found = read_clips(query)
            if len(found) != 1:
                raise UserError(f"query={query}: found {len(found)} clips, expected one; search_all takes several")
            query = next(iter(found.values()))
        return self.search_all([query], k, **options)[0]

    def search_all(self, queries: Any, k: int | None = None, **options: Any) -> list[list[Hit]]:
        """Return the hits of each query: a list of clips, a mapping from names to clips, or features (N, D)."""
        k = min(5, len(self)) if k is None else k
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= len(self):
            raise UserError(f"k: found {k!r}, expected a whole number of 1 to {len(self)}, the clips of the index")
        gallery = F.normalize(torch.from_numpy(self.features), dim=1)
        hits: list[list[Hit]] = []
        with full_float32(gallery.device):
            for q in torch.split(F.normalize(torch.from_numpy(self._features(queries, options)), dim=1), CHUNK):
                for similarity, rows in zip(*(t.tolist() for t in nearest_rows(q @ gallery.T, k)), strict=True):
                    hits.append(
                        [
                            Hit(self.names[r], s)
                            for s, r in sorted(zip(similarity, rows, strict=True), key=lambda p: -p[0])
                        ]
                    )
        return hits

    def _features(self, queries: Any, options: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return features (N, D) of clips, or the given features."""
        given = list(queries.values()) if isinstance(queries, Mapping) else list(queries)
        if not given:
            raise UserError("query: found none, expected at least one clip")
        if all(not isinstance(q, Poses) and np.ndim(q) == 1 for q in given):
            for own in given:
                if np.shape(own) != self.features.shape[1:] or not np.isfinite(np.asarray(own, np.float64)).all():
                    wanted = f"({self.features.shape[1]},), all finite"
                    raise UserError(f"query: found features of shape {np.shape(own)}, expected {wanted}")
            return np.asarray(given, np.float32)
        if self.encoder is None:
            raise UserError("query: found a clip, and an index without an encoder, expected Index.load(PATH, encoder)")
        return embed(queries if isinstance(queries, Mapping) else given, self.encoder, **options)

    def save(self, path: str | Path) -> None:
        """Write names and features into one ``.npz`` file, atomically."""
        about = json.dumps({"format": FORMAT, "encoder": self.digest})
        with result_file(Path(path)) as file:
            np.savez(file, names=np.array(self.names), features=self.features, about=np.array(about))

    @classmethod
    def load(cls, path: str | Path, encoder: nn.Module | str | Path | None = None) -> Index:
        """Load an index that `save` wrote; without the ``encoder`` only features can be queries.

        Raises:
            UserError: for another file, and for an encoder with other weights, recipe or view.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                kind, digest = about["format"], about["encoder"]
                names, features = file["names"].tolist(), file["features"]
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error
        ) as error:  # fmt: skip
            raise UserError(f"{path}: cannot be read as an index ({error}), expected what Index.save wrote") from error
        if kind != FORMAT:
            raise UserError(f"{path}: found format {kind}, expected {FORMAT}")
        encoder = load_encoder(encoder) if isinstance(encoder, str | Path) else encoder
        return cls(names, features, digest, encoder)


def is_index(path: Path) -> bool:
    """Return whether `Index.save` wrote a file, judged by its members."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return {"names.npy", "features.npy", "about.npy"} <= set(file.namelist())


def digest_of(encoder: nn.Module) -> str:
    """Return the SHA-256 of what determines the features: weights, architecture, recipe and test view."""
    about = Pretrained.of(encoder).about
    facts = {"encoder": about["encoder"], "recipe": about["recipe"], "view": about["view"]["test"]}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
