"""Define 24 actions as key poses and oscillations, in degrees, performed with the right hand and foot.

An action is read like a storyboard: ``Key(time, pose)`` gives the pose at a fraction of the action's time, with all
angles that are not named at rest; between keys every angle follows the minimum-jerk curve (Flash and Hogan, 1985). A
``Wave`` adds a sinusoid under a raised cosine. Hard pairs differ only in one limb, direction or timing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from skelssl.data.synthetic.body import DOFS
from skelssl.data.synthetic.dice import Floats

Pose = dict[str, float]


@dataclass(frozen=True)
class Key:
    """A pose at a fraction of the action's time."""

    time: float
    pose: Pose


@dataclass(frozen=True)
class Wave:
    """``amplitude * sin(2 pi (cycles * u + phase))`` for u from 0 at ``start`` to 1 at ``end``, faded in and out."""

    dof: str
    amplitude: float
    cycles: float
    start: float = 0.15
    end: float = 0.85
    phase: float = 0.0


@dataclass(frozen=True)
class Role:
    """The motion of one person."""

    keys: tuple[Key, ...]
    waves: tuple[Wave, ...] = ()


@dataclass(frozen=True)
class Action:
    """One class: the role of the first person and, for interactions, that of the second and their distance."""

    name: str
    first: Role
    second: Role | None = None
    gap: float = 0.0  # metres between the two spine bases ...
    meet: float = 0.5  # ... at this fraction of the action's time
    chair: bool = False  # whether it may also be performed while seated


def _right(**angles: float) -> Pose:
    return {f"{name}_r": value for name, value in angles.items()}


def _left(**angles: float) -> Pose:
    return {f"{name}_l": value for name, value in angles.items()}


def _both(**angles: float) -> Pose:
    return {**_left(**angles), **_right(**angles)}


def _hold(start: float, end: float, pose: Pose) -> tuple[Key, ...]:
    """Return the keys that move from rest into a pose, hold it, and move back."""
    return Key(0, {}), Key(start, pose), Key(end, pose), Key(1, {})


REST: Final[Pose] = {**_both(flex=2, abd=9, rot=12, elbow=14, pron=15, wrist=5, spread=4, turnout=8, hip=2, knee=4)}

_MOUTH: Pose = _right(flex=76, abd=-5, rot=32, elbow=124, pron=-20)
_EAR: Pose = _right(flex=109, abd=23, rot=27, elbow=132)
_BROW: Pose = _right(flex=126, abd=38, rot=47, elbow=114)
_HANDS: Pose = _both(flex=33, abd=6, rot=33, elbow=102)
_RUB: Pose = _both(flex=20, abd=9, rot=38, elbow=101)
_RAISED: Pose = _right(flex=111, abd=59, rot=18, elbow=88)
_COCKED: Pose = _right(flex=119, abd=100, rot=0, elbow=109) | {"twist": -25, "lean": -6}
_THROWN: Pose = _right(flex=71, abd=-11, rot=2, elbow=20) | {"twist": 22, "lean": 14} | _right(hip=18)
_FOLLOW: Pose = _right(flex=26, abd=-27, rot=0, elbow=41) | {"twist": 26, "lean": 18}
_POINT: Pose = _right(flex=84, abd=2, rot=-2, elbow=8)
_GUARD: Pose = _both(flex=14, abd=9, rot=26, elbow=125)
_PUNCH: Pose = _GUARD | _right(flex=86, abd=-8, rot=10, elbow=8) | {"twist": 24, "lean": 8}
_PUSH: Pose = _both(flex=80, abd=-4, rot=4, elbow=12, wrist=-50) | {"lean": 12}
_DRAWN: Pose = _both(flex=15, abd=14, rot=10, elbow=125, wrist=-40)
_SHAKE: Pose = _right(flex=30, abd=-4, rot=24, elbow=58)
_GIVE: Pose = _right(flex=52, abd=-6, rot=14, elbow=30, pron=-60)
_EMBRACE: Pose = _right(flex=82, abd=0, rot=62, elbow=70) | _left(flex=50, abd=4, rot=66, elbow=62) | {"lean": 10}
_STOOP: Pose = {"lean": 62, "nod": 15} | _both(hip=88, knee=92, ankle=14) | _right(flex=78, abd=0, rot=5, elbow=8)
_CARRY: Pose = _right(flex=18, elbow=70)
_BOW: Pose = {"lean": 48, "nod": 18, "pitch": 14} | _both(hip=14, knee=2, flex=22)
_SEATED: Pose = {"lean": 4} | _both(hip=86, knee=88, flex=26, elbow=42, ankle=0)
#: The angles that a chair changes in any pose.
CHAIR: Final[Pose] = _both(hip=84, knee=84)
_RISING: Pose = {"lean": 42} | _both(hip=78, knee=84, flex=34, elbow=24, ankle=8)
_CROUCH: Pose = {"lean": 28} | _both(hip=56, knee=84, ankle=24, flex=-30, elbow=20)
_FLIGHT: Pose = _both(flex=130, elbow=25, knee=8, ankle=-30) | {"rise": 0.3}
_LEG_UP = {"lean": 6} | _left(hip=38, knee=80)
_FALLING: Pose = {"pitch": -48, "lean": 20, "nod": 25} | _both(hip=44, knee=58, flex=28, abd=32, elbow=40)
_LYING: Pose = {"pitch": -88, "lean": 4, "nod": 12} | _both(hip=14, knee=22, abd=30, flex=2, elbow=25)
_REEL: Pose = {"lean": -16, "nod": -12, "pitch": -8} | _both(flex=22, abd=24, elbow=40) | _right(hip=-18, knee=14)
_STEP_BACK = {"lean": -4} | _right(hip=-14, knee=6)


def _stride(cycles: float, start: float = 0.0, end: float = 1.0) -> tuple[Wave, ...]:
    """Swing legs and arms in opposition; a knee bends while its thigh moves forwards."""
    swings = {"hip": 25.0, "flex": -20.0, "knee": 22.0}
    return tuple(Wave(f"{dof}_{side}", sign * swing, cycles, start, end, 0.2 if dof == "knee" else 0.0)
                 for dof, swing in swings.items() for side, sign in (("r", 1), ("l", -1)))  # fmt: skip


_LOOSE: Pose = _both(knee=24)
_WALKING = Role(_hold(0.12, 0.88, _LOOSE), _stride(2.5))
_HUGGING = Role(
    (Key(0, {}), Key(0.1, _LOOSE), Key(0.5, _LOOSE | _EMBRACE), Key(0.8, _EMBRACE), Key(1, {})), _stride(1.5, 0, 0.5)
)
_HOP: Pose = {"rise": 0.14, **_LEG_UP}
_DIP: Pose = {**_LEG_UP, **_right(hip=22, knee=36, ankle=14), "lean": 14}

ACTIONS: Final = (
    Action("drink", chair=True, first=Role(
        _hold(0.3, 0.7, _MOUTH), (Wave("nod", -14, 0.5, 0.3, 0.75), Wave("flex_r", 7, 0.5, 0.3, 0.7)))),
    Action("brush teeth", chair=True, first=Role(
        _hold(0.2, 0.85, _MOUTH), (Wave("rot_r", 9, 5, 0.2, 0.85), Wave("elbow_r", 7, 5, 0.2, 0.85)))),
    Action("phone call", chair=True, first=Role(_hold(0.25, 0.8, _EAR | {"tilt": -8}), (Wave("turn", 10, 1),))),
    Action("salute", chair=True, first=Role(_hold(0.3, 0.7, _BROW))),
    Action("wave", chair=True, first=Role(
        _hold(0.2, 0.85, _RAISED), (Wave("rot_r", 24, 3.5, 0.2, 0.85), Wave("abd_r", 8, 3.5, 0.2, 0.85)))),
    Action("clap", chair=True, first=Role(
        _hold(0.15, 0.88, _HANDS),
        (Wave("rot_r", -18, 4.5), Wave("rot_l", -18, 4.5), Wave("abd_r", 7, 4.5), Wave("abd_l", 7, 4.5)))),
    Action("rub hands", chair=True, first=Role(
        _hold(0.15, 0.88, _RUB),
        (Wave("elbow_r", 9, 5), Wave("elbow_l", -9, 5), Wave("flex_r", 6, 5), Wave("flex_l", -6, 5)))),
    Action("throw", Role((Key(0, {}), Key(0.38, _COCKED), Key(0.55, _THROWN), Key(0.68, _FOLLOW), Key(1, {})))),
    Action("point", chair=True, first=Role(_hold(0.35, 0.7, _POINT))),
    Action("pick up", Role((Key(0, {}), Key(0.4, _STOOP), Key(0.52, _STOOP), Key(0.9, _CARRY), Key(1, _CARRY)))),
    Action("bow", Role(_hold(0.38, 0.58, _BOW))),
    Action("sit down", Role((Key(0, {}), Key(0.4, _RISING), Key(0.68, _SEATED), Key(1, _SEATED)))),
    Action("stand up", Role((Key(0, _SEATED), Key(0.25, _SEATED), Key(0.52, _RISING), Key(0.85, {}), Key(1, {})))),
    Action("jump up", Role((Key(0, {}), Key(0.32, _CROUCH), Key(0.5, _FLIGHT), Key(0.66, _CROUCH), Key(1, {})))),
    Action("hop on one foot", Role((
        Key(0, {}), Key(0.14, _DIP), Key(0.24, _HOP), Key(0.35, _DIP), Key(0.46, _HOP), Key(0.57, _DIP),
        Key(0.68, _HOP), Key(0.8, _DIP), Key(1, {})))),
    Action("kick forwards", Role((
        Key(0, {}), Key(0.35, _right(hip=-22, knee=55) | {"lean": 8}),
        Key(0.52, _right(hip=72, knee=12) | {"lean": -6}), Key(0.8, {}), Key(1, {})))),
    Action("kick sideways", Role((
        Key(0, {}), Key(0.35, _right(hip=42, knee=75, spread=8)),
        Key(0.52, _right(hip=20, knee=10, spread=52) | {"side": 18, "roll": 8}), Key(0.8, {}), Key(1, {})))),
    Action("fall down", Role((Key(0, {}), Key(0.35, _FALLING), Key(0.62, _LYING), Key(1, _LYING)))),
    Action("shake hands", gap=0.86, first=Role(_hold(0.3, 0.8, _SHAKE), (Wave("elbow_r", 9, 3, 0.3, 0.8),)),
           second=Role(_hold(0.34, 0.8, _SHAKE), (Wave("elbow_r", 9, 3, 0.3, 0.8),))),
    Action("give", gap=1.0,
           first=Role((Key(0, _CARRY), Key(0.4, _GIVE), Key(0.55, _GIVE), Key(0.85, {}), Key(1, {}))),
           second=Role((Key(0, {}), Key(0.15, {}), Key(0.5, _GIVE), Key(0.6, _GIVE), Key(1, _CARRY)))),
    Action("punch", gap=0.72, meet=0.45,
           first=Role((Key(0, {}), Key(0.3, _GUARD), Key(0.48, _PUNCH), Key(0.62, _GUARD), Key(1, {}))),
           second=Role((Key(0, {}), Key(0.45, {}), Key(0.6, _REEL), Key(1, {})))),
    Action("push", gap=0.68, meet=0.45,
           first=Role((Key(0, {}), Key(0.3, _DRAWN), Key(0.5, _PUSH), Key(0.62, _PUSH), Key(1, {}))),
           second=Role((Key(0, {}), Key(0.46, {}), Key(0.64, _REEL), Key(1, _STEP_BACK)))),
    Action("hug", gap=0.34, meet=0.6, first=_HUGGING, second=_HUGGING),
    Action("walk towards each other", gap=0.9, meet=1.0, first=_WALKING, second=_WALKING),
)  # fmt: skip

_AT = {name: d for d, name in enumerate((*DOFS, "rise"))}


def vector(pose: Pose) -> Floats:
    """Return a pose as (D + 1,): the angles in degrees, in the order of ``DOFS``, and the rise above the floor in m."""
    out = np.zeros(len(_AT))
    for name, value in {**REST, **pose}.items():
        out[_AT[name]] = value
    return out


def follow_role(part: Role, time: Floats, jitter: Floats) -> Floats:
    """Return poses (T, D + 1) at times (T,) in [0, 1]; ``jitter`` (keys, D + 1) is added to the key poses."""
    keys = np.stack([vector(key.pose) for key in part.keys]) + jitter
    at = np.array([key.time for key in part.keys])
    u = np.clip((time[:, None] - at[:-1]) / np.diff(at), 0, 1)
    poses = keys[0] + np.einsum("ti,id->td", u**3 * (10 - 15 * u + 6 * u**2), np.diff(keys, axis=0))
    for wave in part.waves:
        u = np.clip((time - wave.start) / (wave.end - wave.start), 0, 1)
        fade = np.clip(np.minimum(u, 1 - u) / 0.15, 0, 1)
        swing = wave.amplitude * np.sin(2 * np.pi * (wave.cycles * u + wave.phase))
        poses[:, _AT[wave.dof]] += swing * (0.5 - 0.5 * np.cos(np.pi * fade))
    return np.asarray(poses)
