"""BVH: forward kinematics against sines and cosines written out, and names of many makers."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.poses import read_poses
from skelssl.data.poses.bvh_names import house_names
from skelssl.skeleton.layout import load_layout
from tests.helpers.poses import BVH, HOUSE, MIXAMO, tree

ORDERS = ["".join(order) for order in permutations("XYZ")]
BODY = load_layout("smpl22")


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("orders", [ORDERS, ["ZYX"], ["XYX"]], ids=["all", "one", "twice the same axis"])
def test_the_joints_are_where_the_angles_put_them(tmp_path: Path, orders: list[str]) -> None:
    made = BVH(tree(MIXAMO), orders, seed=len(orders))
    (clip,) = read_poses(write(tmp_path / "walk.bvh", made.text()))
    assert (clip.name, clip.layout, clip.unit, clip.x.shape) == ("walk", "smpl22", "cm", (5, 1, 22, 3))
    assert clip.fps == pytest.approx(30.00003)
    names = [name for name, _ in made.joints]
    for theirs, ours in HOUSE.items():
        expected = [made.place(t, names.index(theirs)) for t in range(5)]
        np.testing.assert_allclose(clip.x[:, 0, BODY.index(ours)], expected, rtol=1e-5, atol=1e-4)
    assert (clip.seen == 1).all()


def test_line_ends_prefixes_and_blanks_change_nothing(tmp_path: Path) -> None:
    made = BVH(tree(MIXAMO), ["ZXY"])
    plain = read_poses(write(tmp_path / "a.bvh", made.text()))[0]
    for n, text in enumerate((
        made.text(newline="\r\n"),
        "\ufeff" + made.text(prefix="mixamorig:"),
        made.text(prefix="Bip01 "),
        made.text().replace("Frames: 5", "Frames:\t5").replace("rotation", "ROTATION"),
    )):  # fmt: skip
        other = read_poses(write(tmp_path / f"é {n}.txt", text))[0]
        np.testing.assert_array_equal(other.x, plain.x)


def test_a_joint_that_moves_by_itself_leaves_its_offset(tmp_path: Path) -> None:
    made = BVH(tree(MIXAMO), ["XYZ"], frames=1)
    text = made.text().replace("CHANNELS 3 Xrotation Yrotation Zrotation", "CHANNELS 0")
    head, _, _ = text.rpartition("Frame Time")
    row = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0]
    place = "JOINT LeftUpLeg\n\t{\n\t\tOFFSET " + " ".join(map(repr, map(float, made.offsets[15]))) + "\n\t\tCHANNELS "
    assert place + "0" in head
    moved = head.replace(place + "0", place + "3 Xposition Yposition Zposition")
    (clip,) = read_poses(write(tmp_path / "a.bvh", f"{moved}Frame Time: 1\n{' '.join(map(str, [*row, 7, 8, 9]))}\n"))
    np.testing.assert_allclose(clip.x[0, 0, BODY.index("hip_left")], [8, 10, 12])


@pytest.mark.parametrize(("unit", "said"), [(1, "cm"), (0.01, "m"), (0.177, "unknown"), (10, "unknown")])
def test_the_unit_is_that_of_a_leg(tmp_path: Path, unit: float, said: str) -> None:
    assert read_poses(write(tmp_path / "a.bvh", BVH(tree(MIXAMO), ["XYZ"], unit=unit).text()))[0].unit == said


# Hierarchies of well-known makers: child:parent, then what some joints are.
CMU = """Hips LHipJoint:Hips LeftUpLeg:LHipJoint LeftLeg:LeftUpLeg LeftFoot:LeftLeg LeftToeBase:LeftFoot RHipJoint:Hips
RightUpLeg:RHipJoint RightLeg:RightUpLeg RightFoot:RightLeg RightToeBase:RightFoot LowerBack:Hips Spine:LowerBack
Spine1:Spine Neck:Spine1 Neck1:Neck Head:Neck1 LeftShoulder:Spine1 LeftArm:LeftShoulder LeftForeArm:LeftArm
LeftHand:LeftForeArm LThumb:LeftHand RightShoulder:Spine1 RightArm:RightShoulder RightForeArm:RightArm
RightHand:RightForeArm RThumb:RightHand"""
XSENS = """Hips Chest:Hips Chest2:Chest Chest3:Chest2 Chest4:Chest3 Neck:Chest4 Head:Neck RightCollar:Chest4
RightShoulder:RightCollar RightElbow:RightShoulder RightWrist:RightElbow LeftCollar:Chest4 LeftShoulder:LeftCollar
LeftElbow:LeftShoulder LeftWrist:LeftElbow RightHip:Hips RightKnee:RightHip RightAnkle:RightKnee RightToe:RightAnkle
LeftHip:Hips LeftKnee:LeftHip LeftAnkle:LeftKnee LeftToe:LeftAnkle"""
SMPL = """Pelvis L_Hip:Pelvis L_Knee:L_Hip L_Ankle:L_Knee L_Foot:L_Ankle R_Hip:Pelvis R_Knee:R_Hip R_Ankle:R_Knee
R_Foot:R_Ankle Spine1:Pelvis Spine2:Spine1 Spine3:Spine2 Neck:Spine3 Head:Neck L_Collar:Spine3 L_Shoulder:L_Collar
L_Elbow:L_Shoulder L_Wrist:L_Elbow L_Hand:L_Wrist R_Collar:Spine3 R_Shoulder:R_Collar R_Elbow:R_Shoulder
R_Wrist:R_Elbow R_Hand:R_Wrist"""
POSER = """hip abdomen:hip chest:abdomen neck:chest head:neck lCollar:chest lShldr:lCollar lForeArm:lShldr
lHand:lForeArm rCollar:chest rShldr:rCollar rForeArm:rShldr rHand:rForeArm lThigh:hip lShin:lThigh lFoot:lShin
rThigh:hip rShin:rThigh rFoot:rShin"""
BARE = """root LeftShoulder:root LeftElbow:LeftShoulder RightShoulder:root RightElbow:RightShoulder LeftHip:root
LeftKnee:LeftHip LeftFoot:LeftKnee RightHip:root RightKnee:RightHip RightFoot:RightKnee"""
BIPED = """Pelvis Spine:Pelvis L_Thigh:Pelvis R_Thigh:Pelvis L_Calf:L_Thigh L_Foot:L_Calf L_Toe0:L_Foot R_Calf:R_Thigh
R_Foot:R_Calf R_Toe0:R_Foot Spine1:Spine Neck:Spine1 Head:Neck L_Clavicle:Neck L_UpperArm:L_Clavicle
L_Forearm:L_UpperArm L_Hand:L_Forearm R_Clavicle:Neck R_UpperArm:R_Clavicle R_Forearm:R_UpperArm R_Hand:R_Forearm"""


ASF = """root lhipjoint:root lfemur:lhipjoint ltibia:lfemur lfoot:ltibia ltoes:lfoot rhipjoint:root rfemur:rhipjoint
rtibia:rfemur rfoot:rtibia rtoes:rfoot lowerback:root upperback:lowerback thorax:upperback lowerneck:thorax
upperneck:lowerneck head:upperneck lclavicle:thorax lhumerus:lclavicle lradius:lhumerus lwrist:lradius lhand:lwrist
rclavicle:thorax rhumerus:rclavicle rradius:rhumerus rwrist:rradius rhand:rwrist"""


@pytest.mark.parametrize(
    ("text", "count", "some"),
    [
        (CMU, 22, {"spine_base": "Hips", "spine1": "LowerBack", "spine_mid": "Spine", "spine3": "Spine1",
                   "collar_left": "LeftShoulder", "shoulder_left": "LeftArm", "foot_right": "RightToeBase"}),
        (XSENS, 22, {"spine1": "Chest", "spine_mid": "Chest2", "spine3": "Chest4", "collar_left": "LeftCollar",
                     "shoulder_left": "LeftShoulder", "ankle_left": "LeftAnkle", "wrist_right": "RightWrist"}),
        (SMPL, 22, {"ankle_left": "L_Ankle", "foot_left": "L_Foot", "wrist_left": "L_Wrist", "spine1": "Spine1"}),
        (ASF, 21, {"spine_base": "root", "spine1": "lowerback", "spine3": "thorax", "hip_left": "lfemur",
                   "elbow_right": "rradius", "wrist_right": "rwrist", "foot_left": "ltoes"}),
        (POSER, 19, {"spine_base": "hip", "spine_mid": "abdomen", "spine3": "chest", "knee_right": "rShin"}),
        (BARE, 11, {"spine_base": "root", "shoulder_left": "LeftShoulder", "ankle_right": "RightFoot"}),
        (BIPED, 21, {"spine_base": "Pelvis", "spine_mid": "Spine", "spine3": "Spine1", "collar_left": "L_Clavicle",
                     "foot_left": "L_Toe0", "neck": "Neck"}),
    ],
    ids=["cmu", "xsens", "smpl", "asf", "poser", "bare", "biped"],
)  # fmt: skip
def test_names_of_many_makers(text: str, count: int, some: dict[str, str]) -> None:
    joints = tree(text)
    found = house_names([name for name, _ in joints], [parent for _, parent in joints], Path("a.bvh"))
    named = {house: joints[j][0] for house, j in found.items()}
    assert some.items() <= named.items()
    assert len(named) == len(set(named.values())) == count
    assert set(named) <= set(BODY.joints)


def test_joints_that_the_hierarchy_lacks_are_not_seen(tmp_path: Path) -> None:
    (clip,) = read_poses(write(tmp_path / "a.bvh", BVH(tree(BARE), ["ZXY"]).text()))
    lacking = [BODY.joints[v] for v in np.flatnonzero((clip.seen == 0).all((0, 1)))]
    assert lacking == [
        "spine1", "spine_mid", "spine3", "foot_left", "foot_right", "neck", "collar_left", "collar_right", "head",
        "wrist_left", "wrist_right",
    ]  # fmt: skip
    assert not clip.x[clip.seen == 0].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: text.index("MOTION")], "found broken motion|found a broken hierarchy|does not close"),
        (lambda text: text[:-40], "numbers of motion, expected 5 frames of 72 channels"),
        (lambda text: text.replace("Frames: 5", "Frames: 6"), "found 360 numbers of motion, expected 6 frames of 72"),
        (lambda text: text.replace("0.0333333", "0"), "found broken motion"),
        (lambda text: text.replace("}", "", 1), "does not close"),
        (lambda text: text.replace("Zrotation", "Wrotation", 1), "found a broken hierarchy .the channel Wrotation"),
        (lambda text: text.replace("OFFSET", "OFSET", 1), "found 'OFSET' in the hierarchy, expected a key of BVH"),
        (lambda text: text.replace("JOINT Spine1", "ROOT Spine1"), "found a second tree"),
        (lambda text: text.replace("UpLeg", "Wing"), "none of them hip_left, hip_right by name, expected names such"),
        (lambda text: text[: text.rindex(" ")] + " nan\n", "found NaN or infinite numbers in the motion"),
        (lambda text: text[: text.rindex(" ")] + " x1\n", "found broken motion"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: object, said: str) -> None:
    path = write(tmp_path / "a.bvh", change(BVH(tree(MIXAMO), ["XYZ"]).text()))  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"a\.bvh: .*({said})"):
        read_poses(path)
