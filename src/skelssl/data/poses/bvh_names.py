"""Map the joint names of motion-capture vendors in a BVH to the names of the package's layouts.

One word means different joints to different vendors: ``LeftShoulder`` is the collar if there is a ``LeftArm``, and the
shoulder otherwise. The spine has any number of joints, so it is identified by its position in the tree, not by names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from skelssl.core.errors import Refused

# The first word of a row that a side has is used. Vendors: CMU, Mixamo and LaFAN; Xsens; ASF; Poser; SMPL; 3ds Max.
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
    """Return layout name -> joint index for the joints that are found; raise Refused if arms or legs are missing."""
    words = [_split(name) for name in names]
    found = dict[str, int]()
    for side in ("left", "right"):
        own = {word: j for j, (of, word) in reversed([*enumerate(words)]) if of == side}
        for joint, known in _LIMBS.items():
            free = (own[word] for word in known if word in own and own[word] not in found.values())
            if (j := next(free, None)) is not None:
                found[f"{joint}_{side}"] = j
        if f"shoulder_{side}" not in found and f"collar_{side}" in found:
            found[f"shoulder_{side}"] = found.pop(f"collar_{side}")  # no other joint has a shoulder's name
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
    """Split a name into side and word: mixamorig:LeftUpLeg -> left, upleg; lFoot -> left, foot; Hips -> None, hips."""
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
    """Return the base of the spine, where the legs meet, and the spine joints up to where the arms meet."""
    base = _meet(found["hip_left"], found["hip_right"], parents)
    left, right = (found.get(f"collar_{side}", found[f"shoulder_{side}"]) for side in ("left", "right"))
    chest = _meet(left, right, parents)
    up = _above(chest, parents)
    top = _above(found["neck"], parents)[1:] if found.get("neck") in up else up
    below = set(up[: up.index(_meet(base, chest, parents))]) - {base}
    return {"spine_base": base, **_spine([joint for joint in reversed(top) if joint in below])}


def _spine(chain: Sequence[int]) -> dict[str, int]:
    """Return the first, middle and last joint between hips and arms; of two the middle and last, of one the middle."""
    if len(chain) < 3:
        return dict(zip(("spine_mid", "spine3"), chain, strict=False))
    return {"spine1": chain[0], "spine_mid": chain[(len(chain) - 1) // 2], "spine3": chain[-1]}


def _above(joint: int, parents: Sequence[int]) -> list[int]:
    """Return a joint and its ancestors, up to the root."""
    chain = [joint]
    while parents[chain[-1]] >= 0:
        chain.append(parents[chain[-1]])
    return chain


def _meet(a: int, b: int, parents: Sequence[int]) -> int:
    """Return the lowest common ancestor of two joints."""
    others = set(_above(b, parents))
    return next(joint for joint in _above(a, parents) if joint in others)
