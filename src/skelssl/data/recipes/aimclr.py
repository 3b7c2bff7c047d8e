"""Recipe ``aimclr``: 50 frames, each person centred and turned per frame.

The preprocessing of ST-GCN's generator followed by AimCLR's (Guo et al., AAAI 2022), which PSTL was trained on
(Zhou et al., AAAI 2023). The references' quirks are part of the published numbers and are kept: persons are told apart
by their place in the file's list, the number of filled frames serves as the length of the clip, every person is
centred on himself, and the direction of the turn is decided once per clip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import EmptyClip, RawClip
from skelssl.errors import UserError

MAX_FRAMES = 300  # the references' padded length; longer clips keep their central part
FRAMES = 50
SPINE_BASE, SHOULDER_LEFT, SHOULDER_RIGHT, SPINE_SHOULDER = 0, 4, 8, 20


class AimCLR:
    """``select`` gives (T, 2, 25, 3) of at most 300 frames, ``normalise`` (50, 2, 25, 3), metres."""

    version = 1

    def __init__(self, *, faithful: bool, align_spine: bool, pku_interval: str, single_person_fill: str) -> None:
        if not faithful:
            raise UserError("method.recipe.faithful: found false, expected true (aimclr has its published form only)")
        if align_spine or single_person_fill != "zero":
            raise UserError(
                "method.recipe: aimclr has neither align_spine nor single_person_fill, expected the defaults"
            )
        self.pku_interval = pku_interval

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Slot m holds the m-th body listed in each frame; tracker ids are not looked at, empty frames stay zero."""
        first, count = clip.frame_ptr[:-1], np.diff(clip.frame_ptr)
        x = np.zeros((clip.n_frames, 2, *clip.bodies.shape[1:]), np.float32)
        for person in range(2):
            present = count > person
            x[present, person] = clip.bodies[first[present] + person]
        start = max(0, (len(x) - MAX_FRAMES) // 2)
        return x[start : start + MAX_FRAMES]

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cuts to the filled length, centres, resizes to 50 frames and turns; raises EmptyClip on an empty clip."""
        length = int((x[:, 0, SPINE_BASE] != 0).any(-1).sum())
        if length == 0:
            raise EmptyClip("the first person is absent in every frame")
        centred = x[:length] - x[:length, :, SPINE_SHOULDER : SPINE_SHOULDER + 1]
        return face_camera(resize(centred, FRAMES)).astype(np.float32)

    def published(self, clip: RawClip) -> NDArray[np.float32]:
        """(3, 50, 25, 2), as in the reference's ``*_position.npy``."""
        return self.normalise(self.select(clip)).transpose(3, 0, 2, 1)


def resize(x: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """(T, ...) -> (frames, ...): linear along time with half-pixel centres, no anti-aliasing, edges held."""
    at = (np.arange(frames) + 0.5) * len(x) / frames - 0.5
    low = np.floor(at)
    weight = (at - low).astype(np.float32).reshape(-1, *[1] * (x.ndim - 1))
    before, after = (np.clip(low + step, 0, len(x) - 1).astype(np.int64) for step in (0, 1))
    resized: NDArray[np.float32] = x[before] * (1 - weight) + x[after] * weight
    return resized


def face_camera(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turns each person about the y axis, per frame, so that his shoulder line lies along x.

    (T, M, V, 3) -> same. The sign of the angle comes from the sum of the line's z over the whole clip, so frames in
    which the person faces the other way are turned wrongly, as in the reference.
    """
    line = (x[:, :, SHOULDER_RIGHT] - x[:, :, SHOULDER_LEFT]).astype(np.float64)
    line[..., 1] = 0
    cosine = line[..., 0] / (np.linalg.norm(line, axis=-1) + 1e-4)
    sine = np.sqrt(1 - np.minimum(cosine * cosine, 1)) * np.where(line[..., 2].sum(0) >= 0, -1.0, 1.0)
    c, s = cosine[..., None], sine[..., None]  # (T, M, 1)
    return np.stack([c * x[..., 0] - s * x[..., 2], x[..., 1] + 0.0 * c, s * x[..., 0] + c * x[..., 2]], axis=-1)
