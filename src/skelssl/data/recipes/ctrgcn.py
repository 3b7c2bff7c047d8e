"""Recipe ``ctrgcn``: two persons by tracker id, moved as a whole to the first person's mid-spine.

The preparation of CTR-GCN (Chen et al., ICCV 2021), which MAMP (Mao et al., ICCV 2023) and HA-CM share. It neither
turns nor scales. The references pad the result with zeros to 300 frames; here it stays ragged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import RawClip
from skelssl.data.recipes.base import RecipeOptions, no_first_person
from skelssl.data.recipes.tracks import as_stored, in_interval, located, two_people
from skelssl.skeleton.layout import Layout

MAX_FRAMES = 300  # the references' padded length; longer clips keep their head


class CTRGCN:
    """``select`` gives (T, 2, V, 3), ``normalise`` the same frames moved to the origin, metres.

    ``faithful`` keeps the published quirks. Without it, as a group:

    * a body that vanishes and returns keeps its frames (published: its later frames slide left over the gap);
    * where all bodies are short the longest stays (published: the preparation fails);
    * bodies share a person only where no frame is common (published: a single common frame is overwritten, and a body
      that fits into a gap still goes to the second person);
    * absent means all zero, for single joints too (published: persons and frames that sum to zero);
    * clips keep all their frames (published: the first 300).

    ``single_person_fill: copy`` makes two equal persons of one, as the published NTU-120 files do. It acts in
    ``select``, which knows the bodies; own arrays that enter at ``normalise`` bring their second person along.
    """

    version = 2
    published_interval = "after_start"
    options: frozenset[str] = frozenset({"single_person_fill", "center"})
    turns_about: tuple[str, ...] = ("spine_mid",)

    def __init__(self, body: Layout, config: RecipeOptions) -> None:
        self.faithful, self.pku_interval, self.flat = config.faithful, config.pku_interval, config.flat
        self.copy, self.center = config.single_person_fill == "copy", config.center
        self.spine_mid = body.point("spine_mid")

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """The cleaned bodies as two persons, frames without either left out. PKU-MMD clips stay as they are stored.

        Raises EmptyClip for a clip without a usable body.
        """
        clip = in_interval(clip, self.pku_interval)
        x, bodies = as_stored(clip), 0
        if x is None:
            x, bodies = two_people(clip, faithful=self.faithful, overlap=1)
            x = x[_filled(x.reshape(len(x), -1), self.faithful)]
        # Published files call a clip single by its bodies: one person seen as two bodies, one after the other, is none.
        single = bodies == 1 if self.faithful and bodies else not x[:, 1].any()
        if self.copy and single:
            x[:, 1] = x[:, 0]
        return x[:MAX_FRAMES] if self.faithful else x

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Subtract the first person's mid-spine in his first frame from all that is there; zeros stay zero.

        With ``center=False`` nothing moves. Raises EmptyClip where the first person is absent throughout.
        """
        present = np.any(x[:, 0] != 0, axis=(1, 2))
        if not present.any():
            raise no_first_person()
        if not self.center:
            return x
        there = _filled(x.reshape(*x.shape[:2], -1), True)[..., None] if self.faithful else _filled(x, False)
        return np.where(
            there[..., None], x - located(x[present.argmax(), 0], self.spine_mid, flat=self.flat), np.float32(0)
        )

    def published(self, clip: RawClip) -> NDArray[np.float32]:
        """Return (T, 150), a row of the reference's files before they are padded to 300 frames."""
        return self.as_published(self.normalise(self.select(clip)))

    @staticmethod
    def as_published(x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert (T, M, V, 3) -> (T, M*V*3), a frame per row as in the reference's files before they are padded."""
        return x.reshape(len(x), -1)


def _filled(x: NDArray[np.float32], faithful: bool) -> NDArray[np.bool_]:
    """Return where the last axis holds anything: a sum other than 0 in the references' terms, else any number but 0."""
    filled: NDArray[np.bool_] = (x.sum(-1) if faithful else np.abs(x).sum(-1)) != 0
    return filled
