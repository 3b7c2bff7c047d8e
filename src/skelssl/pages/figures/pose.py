"""Rotate and scale bodies of any recipe for display: upright, facing the camera, within the unit cube."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelssl.skeleton.layout import Layout

Points = NDArray[np.float64]


def pose_upright(x: Points, present: NDArray[np.bool_], layout: Layout) -> Points:
    """Rotate (T, M, V, 3) so that the first person is upright (y up) and faces -z, and scale it into [-1, 1].

    Recipes leave bodies with y or z up, in any orientation and unit. Only quarter turns make a body upright, so a bow
    stays a bow. Persons who were each centred on themselves are moved apart. ``present`` (T, M) marks present persons.
    """
    if not present.any():
        return x
    person = int(present.any(0).argmax())
    body = x[present[:, person], person].mean(0)  # (V, 3)
    turn = _upright(body, layout)
    turn = _facing(body @ turn.T, layout) @ turn
    return _fit(_apart(x @ turn.T, present, layout.center), present)


def _upright(body: Points, layout: Layout) -> Points:
    """Return the rotation (3, 3) that maps the axis closest to the direction from legs to centre to +y."""
    legs = [v for part, members in layout.parts.items() if "leg" in part for v in members]
    up = body[layout.center] - body[legs].mean(0) if legs else np.array([0.0, 1.0, 0.0])
    axis = int(np.abs(up).argmax())
    turn = np.roll(np.eye(3), axis - 1, axis=1)  # a cyclic shift of the axes, hence a rotation; its row 1 is ``axis``
    return turn if up[axis] >= 0 else np.diag([-1.0, -1.0, 1.0]) @ turn


def _facing(body: Points, layout: Layout) -> Points:
    """Return the rotation (3, 3) about y that maps the left side to -x, so that +z looks at the front."""
    pairs = [v for v, name in enumerate(layout.joints) if name.endswith("_left")]
    left = (body[pairs] - body[layout.flip[pairs]]).mean(0) if pairs else np.array([-1.0, 0.0, 0.0])
    cos, sin = -left[[0, 2]] / max(np.hypot(left[0], left[2]), np.finfo(float).tiny)
    return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])


def _apart(x: Points, present: NDArray[np.bool_], center: int) -> Points:
    both = present.all(1)
    if x.shape[1] < 2 or not both.any():
        return x
    gap = np.linalg.norm(x[both, 0, center] - x[both, 1, center], axis=-1).max()
    height = np.ptp(x[both, 0, :, 1], axis=-1).max()
    shift = np.linspace(-0.4, 0.4, x.shape[1]) * height * (gap < 0.05 * height)  # along x, to the person's side
    return np.asarray(x + shift[:, None, None] * np.array([1.0, 0.0, 0.0]))


def _fit(x: Points, present: NDArray[np.bool_]) -> Points:
    points = x[present].reshape(-1, 3)
    middle = (points.min(0) + points.max(0)) / 2
    away = np.abs(points - middle)
    reach = max(np.hypot(away[:, 0], away[:, 2]).max(), away[:, 1].max())
    return np.asarray((x - middle) / max(reach, np.finfo(float).tiny))
