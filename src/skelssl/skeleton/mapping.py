"""Mapping of joints from one layout to another by name; joints without a source are absent.

>>> from skelssl.skeleton import load_layout
>>> mapping = joint_map(load_layout("coco17"), load_layout("ntu25"))
>>> [load_layout("ntu25").joints[v] for v in mapping.absent if load_layout("ntu25").joints[v].endswith("_left")]
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
    """Source joints of each of the V_target joints."""

    source: Layout
    target: Layout
    members: tuple[tuple[int, ...], ...]  # (V_target,) source joints whose mean each joint is; empty: absent

    @property
    def absent(self) -> tuple[int, ...]:
        """Return the target joints without a source, ascending, to be passed to ``encoder(x, ignore=...)``."""
        return tuple(v for v, members in enumerate(self.members) if not members)

    def apply(
        self, x: NDArray[np.floating], seen: NDArray[np.floating] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Map coordinates and confidence to the joints of the target.

        A mean is seen where all its joints are seen, with their lowest confidence. Values of unseen joints, NaN
        included, never reach the output.

        Args:
            x: (..., V_source, C) coordinates in any unit.
            seen: (..., V_source) confidence, 0 where a joint is not seen. Without it a joint is seen where its
                coordinates are finite and not all zero.

        Returns:
            (..., V_target, C) coordinates, zero where a joint is not seen, and (..., V_target) confidence.

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
    """Return the mapping from ``source`` to ``target``.

    Each target joint is the source joint of the same name, otherwise the mean that the source defines for it, otherwise
    the mean that the target defines if the source has all of its joints, otherwise absent.

    Raises:
        UserError: the layouts have no joint in common.
    """
    found = tuple(_members(joint, source, target) for joint in target.joints)
    if not any(found):
        raise UserError(f"layout: found {source.name}, which has no joint of {target.name}, expected some in common")
    return JointMap(source, target, found)


def _members(joint: str, source: Layout, target: Layout) -> tuple[int, ...]:
    """Return the source joints whose mean is the target's ``joint``; empty if it is absent."""
    if joint in source.joints or joint in source.means:
        return source.point(joint)
    names = [target.joints[v] for v in target.means.get(joint, ())]
    return tuple(map(source.index, names)) if set(names) <= set(source.joints) else ()
