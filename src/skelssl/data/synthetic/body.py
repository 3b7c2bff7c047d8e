"""Model the articulated body: anthropometry, joint limits and forward kinematics of the 25-joint Kinect layout.

A pose is a vector of D angles in degrees, ordered as ``DOFS``. The body frame is the camera frame for a subject who
faces the camera: x to the subject's right, y up, z to the back. Positive angles follow the main direction of a joint:
arms and legs forwards (``flex``, ``hip``) and outwards (``abd``, ``spread``), upper arms rotate inwards (``rot``), feet
outwards (``turnout``), trunk and head bend forwards and to the left and rotate to the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from skelssl.data.synthetic.dice import Dice, Floats
from skelssl.skeleton.layout import load_layout

_CORE = {
    "heading": (-720, 720), "pitch": (-95, 95), "roll": (-60, 60),
    "lean": (-30, 100), "side": (-40, 40), "twist": (-50, 50),
    "nod": (-50, 55), "tilt": (-40, 40), "turn": (-75, 75),
}  # fmt: skip
_ARM = {
    "flex": (-55, 175),
    "abd": (-50, 170),
    "rot": (-90, 90),
    "elbow": (0, 150),
    "pron": (-90, 90),
    "wrist": (-70, 75),
}
_LEG = {"hip": (-30, 125), "spread": (-25, 60), "turnout": (-40, 50), "knee": (0, 145), "ankle": (-50, 35)}

#: Range of motion of every angle in degrees, right and left side alike (wide values of the clinical tables).
LIMITS: Final = {
    **_CORE,
    **{f"{name}_{side}": span for side in "lr" for name, span in _ARM.items()},
    **{f"{name}_{side}": span for side in "lr" for name, span in _LEG.items()},
}
DOFS: Final = tuple(LIMITS)
_AT = {name: d for d, name in enumerate(DOFS)}
_LOW, _HIGH = np.array(list(LIMITS.values()), dtype=float).T
_ARMS = slice(len(_CORE), len(_CORE) + 2 * len(_ARM))
_LEGS = slice(_ARMS.stop, None)
_SIGN = np.array([-1.0, 1.0])  # left, right

_SWAP = {"_l": "_r", "_r": "_l"}
_MIRROR = np.array([_AT[d[:-2] + _SWAP[d[-2:]]] if d[-2:] in _SWAP else _AT[d] for d in DOFS])
_FLIPPED = np.array([-1.0 if d in ("heading", "roll", "side", "twist", "tilt", "turn") else 1.0 for d in DOFS])

_JOINT = {name: v for v, name in enumerate(load_layout("ntu25").joints)}
_SIDES = {name.removesuffix("_left"): [v, _JOINT[name.removesuffix("_left") + "_right"]]
          for name, v in _JOINT.items() if name.endswith("_left")}  # fmt: skip
_CONTACT = _SIDES["ankle"] + _SIDES["foot"]


@dataclass(frozen=True)
class Body:
    """Segment lengths in metres."""

    lumbar: float
    thorax: float
    neck: float
    head: float
    shoulder: float  # half the width
    upper_arm: float
    forearm: float
    hand: float
    hip: float  # half the width
    thigh: float
    shank: float
    foot: float

    @classmethod
    def draw(cls, dice: Dice) -> Body:
        """Draw a person of 1.55 to 1.90 m; fractions of the height after Drillis and Contini (1966), as in Kinect."""
        height = float(dice.uniform(1.55, 1.90))
        trunk, arm, leg, width = (1 + dice.normal(0.03, 4).clip(-0.06, 0.06)).tolist()
        return cls(
            lumbar=0.165 * height * trunk, thorax=0.125 * height * trunk, neck=0.045 * height, head=0.075 * height,
            shoulder=0.105 * height * width, upper_arm=0.186 * height * arm, forearm=0.146 * height * arm,
            hand=0.045 * height * arm, hip=0.047 * height * width, thigh=0.245 * height * leg,
            shank=0.246 * height * leg, foot=0.07 * height * leg,
        )  # fmt: skip


def limited(pose: Floats) -> Floats:
    """Return the pose (..., D) clipped to the joint limits."""
    return np.asarray(np.clip(pose, _LOW, _HIGH))


def mirrored(pose: Floats) -> Floats:
    """Return the mirrored pose (..., D): right becomes left."""
    return np.asarray(pose[..., _MIRROR] * _FLIPPED)


def rotation(axis: str, degrees: Floats) -> Floats:
    """Return the right-handed rotations (..., 3, 3) about x, y or z by angles (...,) in degrees."""
    radians = np.deg2rad(degrees)
    cos, sin = np.cos(radians), np.sin(radians)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.zeros((*radians.shape, 3, 3))
    out[..., 3 - i - j, 3 - i - j] = 1
    out[..., i, i] = out[..., j, j] = cos
    out[..., i, j], out[..., j, i] = -sin, sin
    return out


def _apply(turned: Floats, x: float | Floats, y: float, z: float) -> Floats:
    """Return the offset (x, y, z) rotated by (..., 3, 3)."""
    return np.asarray(turned[..., 0] * np.asarray(x)[..., None] + turned[..., 1] * y + turned[..., 2] * z)


def joints(body: Body, pose: Floats) -> Floats:
    """Compute joints (T, V, 3) in m from poses (T, D) in degrees; the spine base is the origin."""
    core = dict(zip(_CORE, pose[:, : len(_CORE)].T, strict=True))
    out = np.zeros((len(pose), len(_JOINT), 3))
    pelvis = rotation("y", core["heading"]) @ rotation("x", -core["pitch"]) @ rotation("z", core["roll"])
    bend = rotation("x", -core["lean"] / 2) @ rotation("z", core["side"] / 2) @ rotation("y", core["twist"] / 2)
    lower = pelvis @ bend
    upper = lower @ bend
    skull = upper @ rotation("y", core["turn"]) @ rotation("x", -core["nod"]) @ rotation("z", core["tilt"])
    mid = _apply(lower, 0, body.lumbar, 0)
    collar = mid + _apply(upper, 0, body.thorax, 0)
    neck = collar + _apply(upper, 0, body.neck, 0)
    out[:, _JOINT["spine_mid"]], out[:, _JOINT["spine_shoulder"]], out[:, _JOINT["neck"]] = mid, collar, neck
    out[:, _JOINT["head"]] = neck + _apply(skull, 0, body.head, -0.15 * body.head)
    _arms(out, body, upper[:, None], collar[:, None], pose[:, _ARMS].reshape(len(pose), 2, -1))
    _legs(out, body, pelvis[:, None], pose[:, _LEGS].reshape(len(pose), 2, -1))
    return out


def _arms(out: Floats, body: Body, trunk: Floats, collar: Floats, angles: Floats) -> None:
    flex, abd, rot, elbow, pron, wrist = np.moveaxis(angles, -1, 0)
    upper = trunk @ rotation("x", flex) @ rotation("z", _SIGN * abd) @ rotation("y", _SIGN * rot)
    lower = upper @ rotation("x", elbow) @ rotation("y", _SIGN * pron)
    palm = lower @ rotation("x", wrist)
    shoulder = collar + _apply(trunk, _SIGN * body.shoulder, -0.3 * body.shoulder, 0)
    at_elbow = shoulder + _apply(upper, 0, -body.upper_arm, 0)
    at_wrist = at_elbow + _apply(lower, 0, -body.forearm, 0)
    out[:, _SIDES["shoulder"]], out[:, _SIDES["elbow"]], out[:, _SIDES["wrist"]] = shoulder, at_elbow, at_wrist
    out[:, _SIDES["hand"]] = at_wrist + _apply(palm, 0, -body.hand, 0)
    out[:, _SIDES["hand_tip"]] = at_wrist + _apply(palm, 0, -2 * body.hand, 0)
    out[:, _SIDES["thumb"]] = at_wrist + _apply(palm, 0, -1.2 * body.hand, -0.6 * body.hand)


def _legs(out: Floats, body: Body, pelvis: Floats, angles: Floats) -> None:
    flex, spread, turnout, knee, ankle = np.moveaxis(angles, -1, 0)
    upper = pelvis @ rotation("x", flex) @ rotation("z", _SIGN * spread) @ rotation("y", -_SIGN * turnout)
    lower = upper @ rotation("x", -knee)
    sole = lower @ rotation("x", ankle)
    socket = _apply(pelvis, _SIGN * body.hip, -0.6 * body.hip, 0)
    at_knee = socket + _apply(upper, 0, -body.thigh, 0)
    at_ankle = at_knee + _apply(lower, 0, -body.shank, 0)
    out[:, _SIDES["hip"]], out[:, _SIDES["knee"]], out[:, _SIDES["ankle"]] = socket, at_knee, at_ankle
    out[:, _SIDES["foot"]] = at_ankle + _apply(sole, 0, -0.5 * body.foot, -body.foot)


def grounded(xyz: Floats, rise: Floats) -> Floats:
    """Return joints (T, V, 3) placed ``rise`` (T,) m above the floor y = 0, with feet that do not slide.

    The spine base moves so that feet near the floor stay fixed, so steps, sitting down and falling translate the body.
    It starts above x = z = 0.
    """
    height = xyz[..., 1] - xyz[..., 1].min(1, keepdims=True)
    weight = np.exp(-height[:, _CONTACT] / 0.02)
    weight = (weight[1:] + weight[:-1]) / (weight[1:] + weight[:-1]).sum(1, keepdims=True)
    slide = (weight[..., None] * np.diff(xyz[:, _CONTACT], axis=0)).sum(1)
    root = np.zeros((len(xyz), 1, 3))
    root[1:, 0] = -np.cumsum(slide, 0)
    root[:, 0, 1] = rise - xyz[..., 1].min(1)
    return xyz + root
