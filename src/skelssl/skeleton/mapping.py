"""Joints of one layout from those of another, by their names; what cannot be had is absent and never counts.

>>> from skelssl.skeleton import load_layout
>>> there = joint_map(load_layout("coco17"), load_layout("ntu25"))
>>> [load_layout("ntu25").joints[v] for v in there.absent if load_layout("ntu25").joints[v].endswith("_left")]
['hand_left', 'foot_left', 'hand_tip_left', 'thumb_left']
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.skeleton.layout import Layout


@dataclass(frozen=True, slots=True)
class JointMap:
    """Where each of the V_target joints comes from."""

    source: Layout
    target: Layout
    members: tuple[tuple[int, ...], ...]  # (V_target,) joints of the source whose mean it is; none: absent

    @property
    def absent(self) -> tuple[int, ...]:
        """Joints of the target that the source has not, ascending: what ``encoder(x, ignore=...)`` is to leave out."""
        return tuple(v for v, members in enumerate(self.members) if not members)

    def apply(
        self, x: NDArray[np.floating], seen: NDArray[np.floating] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points and confidence in the joints of the target.

        A mean is seen where all its joints are, as surely as the least sure of them. Whatever stands where a joint is
        not seen, NaN too, reaches no output.

        Args:
            x: (..., V_source, C) coordinates.
            seen: (..., V_source) confidence, 0 where a joint is not seen. Without it a joint is seen where its
                coordinates are finite and not all zero.

        Returns:
            (..., V_target, C) with zeros where a joint is not seen, and (..., V_target).

        Raises:
            UserError: another number of joints, or another shape of ``seen``.
        """
        joints = len(self.source.joints)
        if x.ndim < 2 or x.shape[-2] != joints:
            raise UserError(f"joints: found shape {x.shape}, expected (..., {joints}, C) of {self.source.name}")
        if seen is None:
            seen = (x.any(-1) & np.isfinite(x).all(-1)).astype(np.float32)
        if seen.shape != x.shape[:-1]:
            raise UserError(f"seen: found shape {seen.shape}, expected {x.shape[:-1]}, a number for every joint")
        clean = np.where(seen[..., None] > 0, x, 0)
        points = np.zeros((*x.shape[:-2], len(self.members), x.shape[-1]), np.float32)
        sure = np.zeros(points.shape[:-1], np.float32)
        for v, members in enumerate(map(list, self.members)):
            if members:
                points[..., v, :] = clean[..., members, :].mean(-2)
                sure[..., v] = seen[..., members].min(-1).clip(min=0)
        points[sure == 0] = 0
        return points, sure


def joint_map(source: Layout, target: Layout) -> JointMap:
    """From ``source`` to ``target``: a joint of the same name, else the mean that the source says it is, else the one
    that the target says it is, if the source has all of its joints; else absent.

    Raises UserError for layouts that have no joint in common.
    """
    found = tuple(_members(joint, source, target) for joint in target.joints)
    if not any(found):
        raise UserError(f"layout: found {source.name}, which has no joint of {target.name}, expected some in common")
    return JointMap(source, target, found)


def _members(joint: str, source: Layout, target: Layout) -> tuple[int, ...]:
    """Joints of the source whose mean is the target's ``joint``; none where it is absent."""
    if joint in source.joints or joint in source.means:
        return source.point(joint)
    names = [target.joints[v] for v in target.means.get(joint, ())]
    return tuple(map(source.index, names)) if set(names) <= set(source.joints) else ()
