"""Apply recipe ``aimclr``: resize to 50 frames, with each person centred and rotated per frame.

The preprocessing of ST-GCN's generator followed by AimCLR's (Guo et al., AAAI 2022), which PSTL was trained on
(Zhou et al., AAAI 2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import RawClip
from skelssl.data.recipes.base import RecipeOptions, no_first_person
from skelssl.data.recipes.tracks import as_stored, in_interval, located, two_people
from skelssl.skeleton.layout import Layout

MAX_FRAMES = 300  # the references' padded length; longer clips retain their central part
FRAMES = 50


class AimCLR:
    """The recipe of AimCLR: ``select`` returns (T, 2, V, 3) and ``normalise`` (50, 2, V, 3), in m.

    ``faithful`` reproduces the published quirks. Without it, as a group:

    * persons are identified by tracker id and cleaned as in ``ctrgcn`` (published: by position in each frame's list,
      so identities may swap, and a table that was detected as a body becomes a person);
    * only frames with the first person remain (published: the same number of frames, but from the start of the clip);
    * both persons are centred on the first one's upper spine, so their distance is preserved (published: each on
      their own spine);
    * both persons are rotated by the first one's shoulder line, which then lies along +x in every frame (published:
      each by their own, with one sign of the angle per clip, so frames that face the other way are rotated wrongly);
    * clips retain all their frames before they are resized (published: the central 300).

    Args:
        body: the skeleton layout
        config: the options; ``faithful``, ``pku_interval`` and ``coordinates`` are used
    """

    version = 1
    published_interval = "inclusive"
    options: frozenset[str] = frozenset()
    turns_about: tuple[str, ...] = ("spine_base", "spine_shoulder", "shoulder_left", "shoulder_right")

    def __init__(self, body: Layout, config: RecipeOptions) -> None:
        self.faithful, self.pku_interval, self.flat = config.faithful, config.pku_interval, config.flat
        self.spine_base, self.spine_shoulder = body.point("spine_base"), body.point("spine_shoulder")
        self.shoulders = body.index("shoulder_left"), body.index("shoulder_right")

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Return the first two bodies of each frame's list (``faithful``), or two persons by id, (T, 2, V, 3).

        Raises:
            EmptyClip: for a clip without a usable body
        """
        clip = in_interval(clip, self.pku_interval)
        x = as_stored(clip)
        if x is None:
            x = _by_place(clip) if self.faithful else two_people(clip, faithful=False)[0]
        start = max(0, (len(x) - MAX_FRAMES) // 2)
        return x[start : start + MAX_FRAMES] if self.faithful else x

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert (T, M, V, 3) -> (50, M, V, 3): cut, centre, resize and rotate.

        Raises:
            EmptyClip: if the first person is absent in every frame
        """
        present = (located(x[:, 0], self.spine_base) != 0).any(-1)
        if not present.any():
            raise no_first_person()
        x = x[: present.sum()] if self.faithful else x[present]
        origin = located(x if self.faithful else x[:, :1], self.spine_shoulder, flat=self.flat)
        there = True if self.faithful else x.any(-1, keepdims=True)  # zeros are absent joints and stay zero
        resized = resize(np.where(there, x - origin[:, :, None], np.float32(0)), FRAMES)
        if self.flat:
            return resized
        return face_camera(resized, *self.shoulders, per_clip=self.faithful).astype(np.float32)

    def published(self, clip: RawClip) -> NDArray[np.float32]:
        """Return the clip as in the reference's ``*_position.npy``, (3, 50, V, 2)."""
        return self.as_published(self.normalise(self.select(clip)))

    @staticmethod
    def as_published(x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert (T, M, V, 3) -> (3, T, V, M), the layout of the reference's files."""
        return x.transpose(3, 0, 2, 1)


def _by_place(clip: RawClip) -> NDArray[np.float32]:
    """Return (T, 2, V, 3): slot m holds the m-th body listed in each frame, regardless of its id."""
    first, count = clip.frame_ptr[:-1], np.diff(clip.frame_ptr)
    x = np.zeros((clip.n_frames, 2, *clip.bodies.shape[1:]), np.float32)
    for person in range(2):
        present = count > person
        x[present, person] = clip.bodies[first[present] + person]
    return x


def resize(x: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Resize (T, ...) -> (frames, ...) linearly in time, with half-pixel centres and without anti-aliasing."""
    at = (np.arange(frames) + 0.5) * len(x) / frames - 0.5
    low = np.floor(at)
    weight = (at - low).astype(np.float32).reshape(-1, *[1] * (x.ndim - 1))
    before, after = (np.clip(low + step, 0, len(x) - 1).astype(np.int64) for step in (0, 1))
    resized: NDArray[np.float32] = x[before] * (1 - weight) + x[after] * weight
    return resized


def face_camera(x: NDArray[np.float32], left: int, right: int, *, per_clip: bool) -> NDArray[np.float64]:
    """Rotate each person about the y axis, per frame, so that the line from joint ``left`` to ``right`` lies along x.

    (T, M, V, 3) -> same. With ``per_clip`` the sign of the angle is that of the line's z summed over the clip, so
    frames in which the person faces the other way are rotated wrongly, as in the reference. Without it the first
    person's line rotates both persons, frame by frame.
    """
    line = (x[:, :, right] - x[:, :, left]).astype(np.float64)
    line[..., 1] = 0
    if not per_clip:
        line = np.broadcast_to(line[:, :1], line.shape)
    cosine = line[..., 0] / (np.linalg.norm(line, axis=-1) + 1e-4)
    z = line[..., 2].sum(0) if per_clip else line[..., 2]
    sine = np.sqrt(1 - np.minimum(cosine * cosine, 1)) * np.where(z >= 0, -1.0, 1.0)
    c, s = cosine[..., None], sine[..., None]  # (T, M, 1)
    return np.stack([c * x[..., 0] - s * x[..., 2], x[..., 1] + 0.0 * c, s * x[..., 0] + c * x[..., 2]], axis=-1)
