"""Joints of a BVH by the names that makers of motion capture give them -> names of the house.

One word means different joints to different makers: ``LeftShoulder`` is the collar where there is a ``LeftArm`` and the
shoulder otherwise. The spine has one to many joints, so it is told by its place in the tree, not by names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from skelssl.core.errors import Refused

# In each row the first word that a side has is taken: CMU, Mixamo and LaFAN; Xsens; ASF; Poser; SMPL; 3ds Max.
_LIMBS: dict[str, tuple[str, ...]] = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "hip"),
    "knee": ("knee", "lowleg", "lowerleg", "shin", "calf", "tibia", "leg"),
    "ankle": ("ankle", "foot"),
    "foot": ("toebase", "toes", "toe", "toe0", "ball", "foot"),
    "collar": ("collar", "clavicle", "shoulder"),
    "shoulder": ("arm", "uparm", "upperarm", "humerus", "shldr", "shoulder"),
    "elbow": ("elbow", "forearm", "lowarm", "lowerarm", "radius"),
    "wrist": ("wrist", "hand"),
}
_NEEDED = ("hip", "knee", "ankle", "shoulder", "elbow")
_SIDE = re.compile(r"(left|right)[\W_]*(.+)|([lr])[\W_]+(.+)|(.+?)[\W_]+([lr]|left|right)", re.I)
_GLUED = re.compile(r"([lrLR])(.+)")
_PREFIX = re.compile(r"^(bip\s*[0-9]*|mixamorig[0-9]*|[mf]_avg)[\W_]+", re.I)


def house_names(names: Sequence[str], parents: Sequence[int], path: Path) -> dict[str, int]:
    """House name -> index of the joint, for those that the hierarchy has; raises Refused without arms or legs."""
    words = [_split(name) for name in names]
    found = dict[str, int]()
    for side in ("left", "right"):
        own = {word: j for j, (of, word) in reversed([*enumerate(words)]) if of == side}
        for joint, known in _LIMBS.items():
            free = (own[word] for word in known if word in own and own[word] not in found.values())
            if (j := next(free, None)) is not None:
                found[f"{joint}_{side}"] = j
        if f"shoulder_{side}" not in found and f"collar_{side}" in found:
            found[f"shoulder_{side}"] = found.pop(f"collar_{side}")  # nothing else was called so
    if missing := [
        f"{joint}_{side}" for side in ("left", "right") for joint in _NEEDED if f"{joint}_{side}" not in found
    ]:
        raise Refused(
            path,
            "D24",
            f"found the joints {', '.join(names[:40])}, none of them {', '.join(missing)} by name, "
            "expected names such as LeftUpLeg, LeftLeg, LeftFoot, LeftArm, LeftForeArm or LeftHip, LeftKnee, LeftAnkle",
        )
    middle = {word: j for j, (of, word) in reversed([*enumerate(words)]) if of is None}
    found |= {joint: middle[joint] for joint in ("neck", "head") if joint in middle}
    return found | _trunk(found, parents)


def _split(name: str) -> tuple[str | None, str]:
    """mixamorig:LeftUpLeg -> left, upleg; Bip01 L Thigh -> left, thigh; lFoot -> left, foot; Hips -> None, hips."""
    name = _PREFIX.sub("", name.rpartition(":")[2])
    if match := _SIDE.fullmatch(name):
        side, word = next(
            (side, word) for side, word in (match.group(1, 2), match.group(3, 4), match.group(6, 5)) if side
        )
    elif (glued := _GLUED.fullmatch(name)) and _is_limb(glued[2]):
        side, word = glued[1], glued[2]
    else:
        return None, _plain(name)
    return "left" if side[0].lower() == "l" else "right", _plain(word)


def _plain(word: str) -> str:
    return re.sub(r"[\W_]", "", word).lower()


def _is_limb(word: str) -> bool:
    return any(_plain(word) in known for known in _LIMBS.values())


def _trunk(found: dict[str, int], parents: Sequence[int]) -> dict[str, int]:
    """The base of the spine, where the legs meet, and the joints from there to where the arms meet, but the neck."""
    base = _meet(found["hip_left"], found["hip_right"], parents)
    left, right = (found.get(f"collar_{side}", found[f"shoulder_{side}"]) for side in ("left", "right"))
    chest = _meet(left, right, parents)
    up = _above(chest, parents)
    top = _above(found["neck"], parents)[1:] if found.get("neck") in up else up
    below = set(up[: up.index(_meet(base, chest, parents))]) - {base}
    return {"spine_base": base, **_spine([joint for joint in reversed(top) if joint in below])}


def _spine(chain: Sequence[int]) -> dict[str, int]:
    """First, middle and last of the joints between hips and arms; the first, and then the last, go without one."""
    if len(chain) < 3:
        return dict(zip(("spine_mid", "spine3"), chain, strict=False))
    return {"spine1": chain[0], "spine_mid": chain[(len(chain) - 1) // 2], "spine3": chain[-1]}


def _above(joint: int, parents: Sequence[int]) -> list[int]:
    """Return a joint and those above it, up to the root."""
    chain = [joint]
    while parents[chain[-1]] >= 0:
        chain.append(parents[chain[-1]])
    return chain


def _meet(a: int, b: int, parents: Sequence[int]) -> int:
    """Return the lowest joint that is above both."""
    others = set(_above(b, parents))
    return next(joint for joint in _above(a, parents) if joint in others)
