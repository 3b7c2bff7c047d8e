"""Recipe ``agcn``: the main person's spine is the origin of every frame, and each clip is turned to face the axes.

The preparation of 2s-AGCN (Shi et al., CVPR 2019), which skeleton-contrast (Thoker et al., ACM MM 2021) trains on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import RawClip
from skelssl.data.recipes.base import RecipeOptions, no_first_person
from skelssl.data.recipes.tracks import PERSONS, as_stored, in_interval, located, two_people
from skelssl.skeleton.layout import Layout

MAX_FRAMES = 300  # length of the references' files; longer clips keep their head
MAX_BODIES = 4


class AGCNRecipe:
    """``select`` gives (T, 2, V, 3), ``normalise`` as many frames, metres.

    The reference repeats each person from his first to his last frame until 300 are full, and stores beside it how
    many frames the file had. Its crops never leave those, so the store holds just them: nothing a method sees is lost.
    ``published`` repeats up to 300 before it centres, because the two persons may repeat at different periods, and then
    no later repetition of the stored frames would give the reference's.

    ``faithful`` keeps the published quirks. Without it, as a group:

    * persons are told apart by their ids and cleaned as in ``ctrgcn`` (published: the two places of the tracker's list
      that move most, whoever stands there);
    * frames that list nobody leave the clip (published: they count, and stay empty or are filled by repetition);
    * both persons keep one time line (published: one who comes late is moved to the start, alone);
    * frames without the main person use his last known spine (published: they are not centred);
    * absent means all zero (published: joints, frames and persons that sum to zero);
    * clips keep all their frames (published: the first 300).

    The reference's files come in the order of a directory listing; stores are sorted by name in both forms.
    """

    version = 1
    published_interval = "inclusive"
    options: frozenset[str] = frozenset()
    turns_about: tuple[str, ...] = ("spine_base", "spine_mid", "shoulder_left", "shoulder_right")

    def __init__(self, body: Layout, config: RecipeOptions) -> None:
        self.faithful, self.pku_interval, self.flat = config.faithful, config.pku_interval, config.flat
        self.body, self.spine_mid = body, body.point("spine_mid")

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Return the two persons who move most, the main one first. PKU-MMD clips stay as they are stored.

        Raises EmptyClip for a clip without a usable body.
        """
        clip = in_interval(clip, self.pku_interval)
        x = as_stored(clip)
        if x is None:
            x = _by_place(clip) if self.faithful else two_people(clip, faithful=False)[0]
        return x[:MAX_FRAMES] if self.faithful else x

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fill, centre and rotate (T, M, V, 3); raise EmptyClip where the first person is absent throughout."""
        return self._normalise(x, len(x))

    def published(self, clip: RawClip) -> NDArray[np.float32]:
        """Return (3, 300, V, M): the clip as the reference's file has it, repeated to the end."""
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
    """The rotation (3, 3) of 2s-AGCN: the lower spine of ``pose`` (V, 3) onto +z, then the shoulder line onto +x.

    The second turn is not about z and tilts the spine again. Vectors that are zero, or lie on their axis already in
    either sense, are not turned.
    """

    def bone(start: str, end: str) -> NDArray[np.float64]:
        first, last = (located(pose, body.point(name)).astype(np.float64) for name in (start, end))
        vector: NDArray[np.float64] = last - first
        return vector

    upright = _rotation(bone("spine_base", "spine_mid"), axis=2)
    turn: NDArray[np.float64] = _rotation(upright @ bone("shoulder_left", "shoulder_right"), axis=0) @ upright
    return turn


def _rotation(vector: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the least rotation that brings ``vector`` onto a coordinate axis (Rodrigues)."""
    about = np.cross(vector, np.eye(3)[axis])
    if np.abs(about).sum() < 1e-6:  # metres: the reference asks before it scales the vector
        return np.eye(3)
    sine, cosine = np.array([np.linalg.norm(about), vector[axis]]) / np.linalg.norm(vector)
    k = np.cross(np.eye(3), about / np.linalg.norm(about))  # k @ v is the cross product of the axis with v
    rotation: NDArray[np.float64] = np.eye(3) + sine * k + (1 - cosine) * k @ k
    return rotation


def _by_place(clip: RawClip) -> NDArray[np.float32]:
    """The two of the first four places of the tracker's list whose points scatter most; of equals the later one."""
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
    """Return one person (T, V, 3), from his first to his last frame and again until ``frames`` are full.

    If the clip begins without him, his empty frames are closed up; otherwise those within stay and are repeated.
    """
    there = np.flatnonzero(person.sum((1, 2)) != 0)
    if len(there) == 0:
        return np.zeros((frames, *person.shape[1:]), np.float32)
    kept = person[: there[-1] + 1] if there[0] == 0 else person[there]
    return kept[np.arange(frames) % len(kept)]


def _held(joint: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a joint (T, 3) where it is there, else where it was last; before its first frame, where it will be."""
    there = np.any(joint != 0, axis=-1)
    held: NDArray[np.float32] = joint[np.maximum.accumulate(np.where(there, np.arange(len(joint)), there.argmax()))]
    return held
