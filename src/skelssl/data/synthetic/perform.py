"""Perform an action: a subject with a body and habits plays it, alone or with a partner.

Everything is drawn from (seed, class, subject, replication), so each performance is independent of all others, and the
three cameras record the same performance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelssl.data.synthetic.actions import ACTIONS, CHAIR, Role, follow_role, vector
from skelssl.data.synthetic.body import DOFS, Body, grounded, joints, limited, mirrored, rotation
from skelssl.data.synthetic.dice import Dice, Floats

_SUBJECT, _PARTNER, _ACT = range(3)  # purposes of the random streams
_MIN_FRAMES, _MAX_FRAMES = 40, 110
_HEADING = DOFS.index("heading")
_WIDTH = len(DOFS) + 1
_LEGS = ("hip", "spread", "turnout", "knee", "ankle")
_MANNER, _UNREST, _SWAY = 8.0, 5.0, 1.0  # degrees: subject style, key poses, idle sway
#: Orientation and jump height belong to the action and are not a habit; legs bear weight and vary less.
_FREE = np.array([0.0 if name in ("heading", "pitch", "roll", "rise") else 0.4 if name.startswith(_LEGS) else 1.0
                  for name in (*DOFS, "rise")])  # fmt: skip
_WANDER = np.where(np.arange(_WIDTH) == _HEADING, 7.0, 0.0)  # degrees that the heading drifts during an action


@dataclass(frozen=True)
class Habits:
    """The habits of a person: body, posture, reach, tempo and preferred hand."""

    body: Body
    posture: Floats  # (D + 1,) degrees added to every pose
    reach: float  # fraction of the motion from rest to a key pose
    tempo: float
    left_handed: bool

    @classmethod
    def draw(cls, dice: Dice) -> Habits:
        """Draw a person: posture differs by a few degrees, reach and tempo by up to 30 %; one in six is left-handed."""
        return cls(
            body=Body.draw(dice),
            posture=dice.normal(5.0, _WIDTH) * _FREE,
            reach=float(dice.uniform(0.7, 1.15)),
            tempo=float(dice.uniform(0.8, 1.25)),
            left_handed=dice.chance(1 / 6),
        )


def perform_action(seed: int, label: int, subject: int, replication: int) -> list[Floats]:
    """Return the joints (T, V, 3) of each person in m, y up from the floor, facing -z; T is 40 to 110."""
    action = ACTIONS[label]
    dice = Dice(seed, _ACT, label, subject, replication)
    lead = Habits.draw(Dice(seed, _SUBJECT, subject))
    frames = int(np.clip(dice.uniform(52, 92) / lead.tempo, _MIN_FRAMES, _MAX_FRAMES))
    time, mirror = _clock(dice, frames), lead.left_handed != dice.chance(0.25)
    chair = vector(CHAIR) - vector({}) if action.chair and dice.chance(0.35) else np.zeros(_WIDTH)
    facing = rotation("y", dice.normal(12.0).clip(-30, 30))
    poses = [_play(dice, lead, action.first, time, mirror, chair)]
    bodies, frame, gap = [lead.body], 0, 0.0
    if action.second is not None:
        partner = Habits.draw(Dice(seed, _PARTNER, label, subject, replication))
        poses.append(_play(dice, partner, action.second, time, mirror, chair))
        bodies, frame = [lead.body, partner.body], int(np.abs(time - action.meet).argmin())
        gap = action.gap * float(dice.uniform(0.92, 1.1))
        poses[0][:, _HEADING] += 90
        poses[1][:, _HEADING] -= 90
    people = [_placed(body, pose, frame) for body, pose in zip(bodies, poses, strict=True)]
    aside = np.array([gap / 2, 0.0, 0.0])
    return [np.einsum("ij,tvj->tvi", facing, xyz + at) for xyz, at in zip(people, (aside, -aside), strict=False)]


def _clock(dice: Dice, frames: int) -> Floats:
    """Return the action's time (T,) at each frame: random start and end, varying speed, monotonic."""
    start, end = dice.uniform(-0.1, 0.35), dice.uniform(0.65, 1.1)
    u = np.clip((np.linspace(0, 1, frames) - start) / (end - start), 0, 1)
    slow, halves = dice.uniform(-0.18, 0.18), dice.uniform(-0.05, 0.05)
    return np.asarray(u + slow * np.sin(np.pi * u) + halves * np.sin(2 * np.pi * u))


def _play(dice: Dice, habits: Habits, part: Role, time: Floats, mirror: bool, chair: Floats) -> Floats:
    """Return a person's poses (T, D + 1): the role in this person's style, with idle sway."""
    manner = dice.normal(_MANNER, _WIDTH) + dice.normal(_UNREST, len(part.keys), _WIDTH)
    pose = follow_role(part, time, manner * _FREE)
    rest = vector({})
    pose = rest + habits.reach**_FREE * (pose - rest) + habits.posture + chair + _sway(dice, len(time))
    angles = mirrored(pose[:, :-1]) if mirror else pose[:, :-1]
    return np.concatenate([limited(angles), pose[:, -1:]], 1)


def _sway(dice: Dice, frames: int) -> Floats:
    """Return three slow sinusoids for every angle (T, D + 1), 0.1 to 0.6 Hz at 30 frames per second."""
    hertz, phase = dice.uniform(0.1, 0.6, 3, _WIDTH), dice.uniform(0, 2 * np.pi, 3, _WIDTH)
    seconds = np.arange(frames)[:, None, None] / 30
    return np.asarray(np.sin(2 * np.pi * hertz * seconds + phase).sum(1) * (_SWAY * _FREE + _WANDER))


def _placed(body: Body, pose: Floats, frame: int) -> Floats:
    """Return the joints (T, V, 3) of a body whose spine base is above x = z = 0 at one frame."""
    xyz = grounded(joints(body, pose[:, :-1]), pose[:, -1])
    return np.asarray(xyz - xyz[frame, 0] * np.array([1.0, 0.0, 1.0]))
