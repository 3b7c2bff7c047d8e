"""Apply recipe ``pyskl``: two persons by tracker id, centred on the main person's first frame.

These are the annotations of pyskl (Duan et al., ACM MM 2022) and its ``PreNormalize3D``, which Skeleton2vec uses. pyskl
publishes the selected bodies and normalises on loading; the store holds normalised clips, in float32 because float16
has a resolution of only two millimetres.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import EmptyClip, RawClip
from skelssl.data.recipes.agcn import onto_axes
from skelssl.data.recipes.base import RecipeOptions
from skelssl.data.recipes.tracks import PERSONS, as_stored, in_interval, located, two_people
from skelssl.skeleton.layout import Layout

ABSENT_BELOW = 1e-3  # m; a smaller sum of absolute coordinates counts as absent


class PySKL:
    """The recipe of pyskl: ``select`` returns (T, 2, V, 3) in m, ``normalise`` the frames with the main person.

    ``align_spine`` rotates the clip as ``agcn`` does (NTU-60 X-View). ``faithful`` reproduces the published quirks.
    Without it, as a group:

    * a body that disappears and returns retains its frames (published: its later frames are shifted over the gap);
    * if all bodies are short, the longest is retained (published: the preprocessing fails);
    * bodies share a person if they have no frame in common (published: a body that fits into a gap is assigned to the
      second person).

    Args:
        body: the skeleton layout
        config: the options; ``faithful``, ``align_spine``, ``pku_interval`` and ``coordinates`` are used
    """

    version = 1
    published_interval = "after_start"
    options: frozenset[str] = frozenset({"align_spine"})
    turns_about: tuple[str, ...] = ("spine_mid",)

    def __init__(self, body: Layout, config: RecipeOptions) -> None:
        self.faithful, self.pku_interval, self.flat = config.faithful, config.pku_interval, config.flat
        self.align_spine = config.align_spine
        self.body, self.spine_mid = body, body.point("spine_mid")

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Return the cleaned bodies as two persons (T, 2, V, 3), from the first to the last frame with either.

        PKU-MMD clips stay as stored.

        Raises:
            EmptyClip: for a clip without a usable body
        """
        x = self._persons(clip)
        return np.pad(x, ((0, 0), (0, PERSONS - x.shape[1]), (0, 0), (0, 0)))

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply pyskl's ``PreNormalize3D``: (T, M, V, 3) -> (T', M, V, 3).

        If the second person is present in more frames than the first, the two are swapped. Frames without the main
        person are removed, and the mid-spine in the first remaining frame becomes the origin; zeros stay zero.

        Raises:
            EmptyClip: for a clip without a person
        """
        present = np.any(x != 0, axis=(2, 3))
        main = int(present.sum(0).argmax())
        if not present.any():
            raise EmptyClip("no person is present in any frame")
        x = x[present[:, main]]
        x = x[:, ::-1] if main else x
        x = np.where(x.any(-1, keepdims=True), x - located(x[0, 0], self.spine_mid, flat=self.flat), np.float32(0))
        turn = onto_axes(x[0, 0], self.body).astype(np.float32) if self.align_spine else np.eye(3, dtype=np.float32)
        return (x.reshape(-1, 3) @ turn.T).reshape(x.shape)

    def published(self, clip: RawClip) -> NDArray[Any]:
        """Return the ``keypoint`` of the clip's annotation: (M, T, V, 3) float16, M = 1 or 2, not normalised."""
        return self.as_published(self._persons(clip))

    @staticmethod
    def as_published(x: NDArray[np.float32]) -> NDArray[Any]:
        """Convert (T, M, V, 3) -> (M, T, V, 3) float16, the layout of an annotation."""
        return x.swapaxes(0, 1).astype(np.float16)

    def _persons(self, clip: RawClip) -> NDArray[np.float32]:
        clip = in_interval(clip, self.pku_interval)
        x = as_stored(clip)
        if x is not None:
            return x
        x, bodies = two_people(clip, faithful=self.faithful)
        filled = np.flatnonzero(~(np.abs(x).sum((1, 2, 3)) < ABSENT_BELOW))  # a frame with NaN is not empty
        if len(filled) == 0:
            raise EmptyClip("every body lies at the origin")
        x = x[filled[0] : filled[-1] + 1]
        if bodies == 1:  # one body is one person; several bodies may still leave the second person empty
            return x[:, :1]
        late = np.abs(located(x[0], self.spine_mid)).sum(-1) > ABSENT_BELOW
        return x[:, ::-1] if late[1] and not late[0] else x
