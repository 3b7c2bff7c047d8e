"""Recipe ``pyskl``: two persons by tracker id, centred on the main person's first frame.

The annotations of pyskl (Duan et al., ACM MM 2022) and its ``PreNormalize3D``, which Skeleton2vec trains on. pyskl
ships the selected bodies and normalises when it loads; the store holds normalised clips. It keeps them in float32:
float16 leaves two millimetres.
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

ABSENT_BELOW = 1e-3  # metres; a sum of absolute coordinates below it counts as absence


class PySKL:
    """``select`` gives (T, 2, V, 3), ``normalise`` the frames that show the main person, metres.

    ``align_spine`` turns the clip as ``agcn`` does (NTU-60 X-View). ``faithful`` keeps the published quirks. Without
    it, as a group:

    * a body that vanishes and returns keeps its frames (published: its later frames slide left over the gap);
    * where all bodies are short the longest stays (published: the preparation fails);
    * bodies share a person wherever no frame is common (published: a body that fits into a gap goes to the second
      person).
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
        """Return the cleaned bodies as two persons, from the first frame that shows either to the last.

        PKU-MMD clips stay as they are stored. Raises EmptyClip for a clip without a usable body.
        """
        x = self._persons(clip)
        return np.pad(x, ((0, 0), (0, PERSONS - x.shape[1]), (0, 0), (0, 0)))

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert (T, M, V, 3) -> (T', M, V, 3): pyskl's ``PreNormalize3D``.

        The main person is the second one if he is in more frames than the first, and then the two change places.
        Frames without the main person go, his mid-spine in the first frame left becomes the origin, zeros stay zero.
        Raises EmptyClip for a clip that shows nobody.
        """
        present = np.any(x != 0, axis=(2, 3))
        main = int(present.sum(0).argmax())
        if not present.any():
            raise EmptyClip("nobody is there in any frame")
        x = x[present[:, main]]
        x = x[:, ::-1] if main else x
        x = np.where(x.any(-1, keepdims=True), x - located(x[0, 0], self.spine_mid, flat=self.flat), np.float32(0))
        turn = onto_axes(x[0, 0], self.body).astype(np.float32) if self.align_spine else np.eye(3, dtype=np.float32)
        return (x.reshape(-1, 3) @ turn.T).reshape(x.shape)

    def published(self, clip: RawClip) -> NDArray[Any]:
        """(M, T, V, 3) float16, the ``keypoint`` of the clip's annotation: selected, not normalised; M is 1 or 2."""
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
        if bodies == 1:  # one body is one person; several may leave the second one empty
            return x[:, :1]
        late = np.abs(located(x[0], self.spine_mid)).sum(-1) > ABSENT_BELOW
        return x[:, ::-1] if late[1] and not late[0] else x
