"""Apply recipe ``agcn``: centre every frame on the main person's spine and rotate each clip onto the axes.

This is the preprocessing of 2s-AGCN (Shi et al., CVPR 2019), which skeleton-contrast (Thoker et al., ACM MM 2021) uses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import RawClip
from skelssl.data.recipes.base import RecipeOptions, no_first_person
from skelssl.data.recipes.tracks import PERSONS, as_stored, in_interval, located, two_people
from skelssl.skeleton.layout import Layout

MAX_FRAMES = 300  # length of the references' files; longer clips retain their first frames
MAX_BODIES = 4


class AGCNRecipe:
    """The recipe of 2s-AGCN: ``select`` and ``normalise`` return (T, 2, V, 3) in m.

    The reference repeats each person from their first to their last frame up to 300 frames, and stores the original
    number of frames. Its crops never exceed that number, so the store holds only the original frames and loses nothing
    that a method sees. ``published`` repeats up to 300 before centring, because the two persons may repeat with
    different periods, which repeating the stored frames would not reproduce.

    ``faithful`` reproduces the published quirks. Without it, as a group:

    * persons are identified by tracker id and cleaned as in ``ctrgcn`` (published: the two positions of the tracker's
      list that move most, regardless of identity);
    * frames without a body are removed (published: they count, and stay empty or are filled by repetition);
    * both persons share one timeline (published: a person who appears late is moved to the start, independently);
    * frames without the main person use the last known spine (published: they are not centred);
    * absent means all zero (published: joints, frames and persons that sum to zero);
    * clips retain all their frames (published: the first 300).

    The reference's files follow the order of a directory listing; stores are sorted by name in both forms.

    Args:
        body: the skeleton layout
        config: the options; ``faithful``, ``pku_interval`` and ``coordinates`` are used
    """

    version = 1
    published_interval = "inclusive"
    options: frozenset[str] = frozenset()
    turns_about: tuple[str, ...] = ("spine_base", "spine_mid", "shoulder_left", "shoulder_right")

    def __init__(self, body: Layout, config: RecipeOptions) -> None:
        self.faithful, self.pku_interval, self.flat = config.faithful, config.pku_interval, config.flat
        self.body, self.spine_mid = body, body.point("spine_mid")

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Return the two persons (T, 2, V, 3) who move most, the main one first; PKU-MMD clips stay as stored.

        Raises:
            EmptyClip: for a clip without a usable body
        """
        clip = in_interval(clip, self.pku_interval)
        x = as_stored(clip)
        if x is None:
            x = _by_place(clip) if self.faithful else two_people(clip, faithful=False)[0]
        return x[:MAX_FRAMES] if self.faithful else x

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fill, centre and rotate (T, M, V, 3) in m; raise EmptyClip if the first person is absent in every frame."""
        return self._normalise(x, len(x))

    def published(self, clip: RawClip) -> NDArray[np.float32]:
        """Return the clip as in the reference's file, (3, 300, V, M), repeated to the end."""
        return self.as_published(self._normalise(self.select(clip), MAX_FRAMES))

    @staticmethod
    def as_published(x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert (T, M, V, 3) -> (3, T, V, M), the layout of the reference's files."""
        return x.transpose(3, 0, 2, 1)

    def _normalise(self, x: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
        if not x[:, 0].any():
            raise no_first_person()
        if self.faithful:
            x = np.stack([_repeated(x[:, person], frames) for person in range(PERSONS)], axis=1)
            there, first, centre = x.sum(-1) != 0, 0, located(x[:, 0], self.spine_mid, flat=self.flat)
        else:
            x = x[np.arange(frames) % len(x)]
            first = np.any(x[:, 0] != 0, axis=(1, 2)).argmax()
            there, centre = np.any(x != 0, axis=-1), _held(located(x[:, 0], self.spine_mid, flat=self.flat))
        x = np.where(there[..., None], x - centre[:, None, None], np.float32(0))
        if self.flat:
            return x
        turn = onto_axes(x[first, 0], self.body).astype(np.float32)
        return (x.reshape(-1, 3) @ turn.T).reshape(x.shape)


def onto_axes(pose: NDArray[np.float32], body: Layout) -> NDArray[np.float64]:
    """Return the rotation (3, 3) of 2s-AGCN: the lower spine of ``pose`` (V, 3) onto +z, then the shoulders onto +x.

    The second rotation is not about z and tilts the spine again. Vectors that are zero, or already parallel to their
    axis in either direction, are not rotated.
    """

    def bone(start: str, end: str) -> NDArray[np.float64]:
        first, last = (located(pose, body.point(name)).astype(np.float64) for name in (start, end))
        vector: NDArray[np.float64] = last - first
        return vector

    upright = _rotation(bone("spine_base", "spine_mid"), axis=2)
    turn: NDArray[np.float64] = _rotation(upright @ bone("shoulder_left", "shoulder_right"), axis=0) @ upright
    return turn


def _rotation(vector: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the smallest rotation that maps ``vector`` onto a coordinate axis (Rodrigues)."""
    about = np.cross(vector, np.eye(3)[axis])
    if np.abs(about).sum() < 1e-6:  # m: the reference tests before it normalises the vector
        return np.eye(3)
    sine, cosine = np.array([np.linalg.norm(about), vector[axis]]) / np.linalg.norm(vector)
    k = np.cross(np.eye(3), about / np.linalg.norm(about))  # k @ v is the cross product of the axis with v
    rotation: NDArray[np.float64] = np.eye(3) + sine * k + (1 - cosine) * k @ k
    return rotation


def _by_place(clip: RawClip) -> NDArray[np.float32]:
    """Return the two of the first four positions of the tracker's list with the largest scatter; ties: the later."""
    first, count = clip.frame_ptr[:-1], np.diff(clip.frame_ptr)
    x = np.zeros((MAX_BODIES, clip.n_frames, *clip.bodies.shape[1:]), np.float32)
    for place in range(MAX_BODIES):
        listed = count > place
        x[place, listed] = clip.bodies[first[listed] + place]
    order = np.argsort([_scatter(person) for person in x], kind="stable")[::-1]
    return x[order[:PERSONS]].swapaxes(0, 1)


def _scatter(person: NDArray[np.float32]) -> float:
    there = person[person.sum((1, 2)) != 0]
    return float(there.astype(np.float64).std((0, 1)).sum()) if len(there) else 0.0


def _repeated(person: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Return one person (T, V, 3) from the first to the last present frame, repeated up to ``frames``.

    If the person is absent in the first frame, all empty frames are removed; otherwise those within are repeated too.
    """
    there = np.flatnonzero(person.sum((1, 2)) != 0)
    if len(there) == 0:
        return np.zeros((frames, *person.shape[1:]), np.float32)
    kept = person[: there[-1] + 1] if there[0] == 0 else person[there]
    return kept[np.arange(frames) % len(kept)]


def _held(joint: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a joint (T, 3) with the last known position where it is absent, and the first one before that."""
    there = np.any(joint != 0, axis=-1)
    held: NDArray[np.float32] = joint[np.maximum.accumulate(np.where(there, np.arange(len(joint)), there.argmax()))]
    return held
