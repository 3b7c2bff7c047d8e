"""Apply recipe ``ctrgcn``: two persons by tracker id, translated together to the first person's mid-spine.

This is the preprocessing of CTR-GCN (Chen et al., ICCV 2021), which MAMP (Mao et al., ICCV 2023) and HA-CM share. It
neither rotates nor scales. The references pad the result with zeros to 300 frames; here it stays ragged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import RawClip
from skelssl.data.recipes.base import RecipeOptions, no_first_person
from skelssl.data.recipes.tracks import as_stored, in_interval, located, two_people
from skelssl.skeleton.layout import Layout

MAX_FRAMES = 300  # the references' padded length; longer clips retain their first frames


class CTRGCN:
    """The recipe of CTR-GCN: ``select`` returns (T, 2, V, 3) in m, ``normalise`` the same frames moved to the origin.

    ``faithful`` reproduces the published quirks. Without it, as a group:

    * a body that disappears and returns retains its frames (published: its later frames are shifted over the gap);
    * if all bodies are short, the longest is retained (published: the preprocessing fails);
    * bodies share a person only if they have no frame in common (published: a single common frame is overwritten, and
      a body that fits into a gap is still assigned to the second person);
    * absent means all zero, also for single joints (published: persons and frames that sum to zero);
    * clips retain all their frames (published: the first 300).

    ``single_person_fill: copy`` duplicates a single person, as in the published NTU-120 files. It acts in ``select``,
    where the bodies are known; custom arrays that enter at ``normalise`` have their second person already.

    Args:
        body: the skeleton layout
        config: the options, all but ``align_spine``
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
        """Return the cleaned bodies as two persons (T, 2, V, 3), without empty frames; PKU-MMD clips stay as stored.

        Raises:
            EmptyClip: for a clip without a usable body
        """
        clip = in_interval(clip, self.pku_interval)
        x, bodies = as_stored(clip), 0
        if x is None:
            x, bodies = two_people(clip, faithful=self.faithful, overlap=1)
            x = x[_filled(x.reshape(len(x), -1), self.faithful)]
        # Published files count bodies: one person detected as two consecutive bodies does not make a clip single.
        single = bodies == 1 if self.faithful and bodies else not x[:, 1].any()
        if self.copy and single:
            x[:, 1] = x[:, 0]
        return x[:MAX_FRAMES] if self.faithful else x

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Subtract the first person's first mid-spine from all present joints (T, M, V, 3); zeros stay zero.

        With ``center=False`` the clip is unchanged.

        Raises:
            EmptyClip: if the first person is absent in every frame
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
        """Return the clip as in the reference's files, (T, M*V*3), before they are padded to 300 frames."""
        return self.as_published(self.normalise(self.select(clip)))

    @staticmethod
    def as_published(x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert (T, M, V, 3) -> (T, M*V*3), one frame per row as in the reference's files before padding."""
        return x.reshape(len(x), -1)


def _filled(x: NDArray[np.float32], faithful: bool) -> NDArray[np.bool_]:
    """Return where the last axis is present: ``faithful`` by a nonzero sum, as the references do, else any nonzero."""
    filled: NDArray[np.bool_] = (x.sum(-1) if faithful else np.abs(x).sum(-1)) != 0
    return filled
