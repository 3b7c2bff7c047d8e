"""Bodies, poses, performances and cameras, before the tracker adds its noise."""

import numpy as np
import pytest

from skelssl.data.synthetic.actions import ACTIONS, Key, Role, Wave, follow_role, vector
from skelssl.data.synthetic.body import DOFS, LIMITS, Body, grounded, joints, limited, mirrored, rotation
from skelssl.data.synthetic.dice import Dice
from skelssl.data.synthetic.perform import perform_action
from skelssl.data.synthetic.tracker import ANGLES, camera_view, track
from skelssl.skeleton.layout import load_layout

BODY = load_layout("ntu25")
AT = {name: v for v, name in enumerate(BODY.joints)}
NEUTRAL = np.zeros((1, len(DOFS)))


def pose(**angles):
    out = NEUTRAL.copy()
    for name, value in angles.items():
        out[:, DOFS.index(name)] = value
    return out


def person():
    return Body.draw(Dice(0, 0))


def lengths(xyz):
    child, parent = np.array(BODY.bones).T
    return np.linalg.norm(xyz[:, child] - xyz[:, parent], axis=-1)


def test_dice_follow_their_laws_and_their_name():
    dice = Dice(3, 1, 4)
    uniform, normal = dice.uniform(-1, 3, 40_000), dice.normal(2.0, 40_000)
    assert uniform.min() >= -1
    assert uniform.max() < 3
    assert (uniform.mean(), uniform.var()) == pytest.approx((1.0, 16 / 12), abs=0.03)
    assert (normal.mean(), normal.std()) == pytest.approx((0.0, 2.0), abs=0.03)
    assert np.mean(np.abs(normal) < 2) == pytest.approx(0.6827, abs=0.01)
    assert {dice.integer(2, 4) for _ in range(60)} == {2, 3, 4}
    assert Dice(3, 1, 4).uniform(-1, 3, 5).tolist() == uniform[:5].tolist()
    # the raw words of Philox, fixed by its definition
    assert Dice(0).uniform(0, 1, 2).tolist() == [0.014067035665647709, 0.2577672456246177]


@pytest.mark.parametrize("axis", "xyz")
def test_rotation_is_right_handed(axis):
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    turn = rotation(axis, np.array([90.0, 30.0]))
    assert turn[0] @ np.eye(3)[i] == pytest.approx(np.eye(3)[j])
    assert turn[1] @ turn[1].T == pytest.approx(np.eye(3))
    assert np.linalg.det(turn) == pytest.approx([1, 1])


def test_standing_body_has_its_left_at_smaller_x_and_a_human_height():
    for subject in range(30):
        xyz = joints(Body.draw(Dice(0, 0, subject)), NEUTRAL)[0]
        left = [v for v, name in enumerate(BODY.joints) if name.endswith("_left")]
        assert (xyz[left, 0] < xyz[BODY.flip[left], 0]).all()
        top_down = [AT[n] for n in ("head", "neck", "spine_mid", "spine_base", "knee_left", "ankle_left", "foot_left")]
        assert (np.diff(xyz[top_down, 1]) < 0).all()
        assert (xyz[[AT["foot_left"], AT["foot_right"]], 2] < 0).all()  # toes point at the camera
        assert 1.40 < xyz[AT["head"], 1] - xyz[AT["foot_left"], 1] < 1.95


def test_angles_bend_the_way_they_are_called():
    body, rest = person(), joints(person(), NEUTRAL)[0]
    moved = {name: joints(body, pose(**{name: 40}))[0] - rest for name in DOFS if name not in ("heading", "roll")}
    forwards, right, up = np.array([0, 0, -1]), np.array([1, 0, 0]), np.array([0, 1, 0])
    for name, joint, way in [
        ("flex_r", "hand_right", forwards), ("abd_r", "hand_right", right), ("abd_l", "hand_left", -right),
        ("elbow_l", "hand_left", forwards), ("hip_r", "ankle_right", forwards), ("knee_r", "ankle_right", -forwards),
        ("spread_l", "ankle_left", -right), ("turnout_r", "foot_right", right), ("ankle_l", "foot_left", up),
        ("lean", "head", forwards), ("side", "head", -right), ("pitch", "head", forwards), ("nod", "head", forwards),
        ("twist", "shoulder_right", forwards), ("wrist_r", "hand_tip_right", forwards),
    ]:  # fmt: skip
        assert moved[name][AT[joint]] @ way > 0.02, name
    bent, turned = (joints(body, pose(elbow_r=90, rot_r=r))[0] for r in (0, 60))
    assert (turned - bent)[AT["hand_right"]] @ right < -0.1  # inwards


def test_mirror_image_is_the_mirrored_body():
    angles = limited(Dice(1).normal(30.0, 6, len(DOFS)))
    image = joints(person(), mirrored(angles))
    assert image == pytest.approx(joints(person(), angles)[:, BODY.flip] * np.array([-1, 1, 1]), abs=1e-12)


def test_limits_hold_whatever_is_asked():
    wild = limited(Dice(2).normal(200.0, 500, len(DOFS)))
    low, high = np.array(list(LIMITS.values())).T
    assert (wild >= low).all()
    assert (wild <= high).all()
    for action in ACTIONS:  # no key pose of an action itself is out of range
        for key in [key for part in (action.first, action.second) if part for key in part.keys]:
            angles = vector(key.pose)[:-1]
            assert limited(angles) == pytest.approx(angles), (action.name, key.time)


def test_performances_keep_within_the_elbow_and_knee_range():
    """Angles measured on the joints themselves, so that a slip between pose and body would show."""
    for label in range(len(ACTIONS)):
        for xyz in perform_action(0, label, 5, 1):
            for upper, middle, lower, limit in (
                ("shoulder_right", "elbow_right", "wrist_right", LIMITS["elbow_r"]),
                ("hip_left", "knee_left", "ankle_left", LIMITS["knee_l"]),
            ):
                a, b = xyz[:, AT[middle]] - xyz[:, AT[upper]], xyz[:, AT[lower]] - xyz[:, AT[middle]]
                cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
                assert np.rad2deg(np.arccos(cosine.clip(-1, 1))).max() <= limit[1] + 1e-6


def test_bones_keep_their_length_and_feet_the_floor():
    first = None
    for label in range(len(ACTIONS)):
        for n, xyz in enumerate(perform_action(0, label, 2, 1)):
            bones = lengths(xyz)
            assert bones == pytest.approx(np.broadcast_to(bones[:1], bones.shape), abs=1e-9)
            first = bones[0] if first is None else first
            if n == 0:  # one subject, one body, whatever he does
                assert bones[0] == pytest.approx(first, abs=1e-9)
            lowest = xyz[..., 1].min(1)
            assert lowest.min() > -1e-9
            assert lowest.max() < (0.4 if ACTIONS[label].name in ("jump up", "hop on one foot") else 1e-9)


def test_a_standing_foot_does_not_slide():
    time = np.linspace(0, 1, 60)
    squat = Role((Key(0, {}), Key(0.5, {"hip_l": 80, "hip_r": 80, "knee_l": 90, "knee_r": 90}), Key(1, {})))
    angles = follow_role(squat, time, np.zeros((3, len(DOFS) + 1)))
    xyz = grounded(joints(person(), angles[:, :-1]), np.zeros(60))
    ankles = xyz[:, [AT["ankle_left"], AT["ankle_right"]]].mean(1)
    assert np.ptp(ankles[:, [0, 2]], axis=0).max() < 0.02
    assert np.ptp(xyz[:, 0, 1]) > 0.3  # while the body goes down


def test_key_poses_are_met_with_minimum_jerk_and_waves_swing():
    part = Role((Key(0, {"lean": 0}), Key(0.5, {"lean": 40}), Key(1, {"lean": 40})), (Wave("nod", 10, 1, 0, 1),))
    time = np.array([0, 0.125, 0.25, 0.5, 1])
    poses = follow_role(part, time, np.zeros((3, len(DOFS) + 1)))
    u = time[1] / 0.5
    expected = 40 * (10 * u**3 - 15 * u**4 + 6 * u**5)
    assert poses[:, DOFS.index("lean")] == pytest.approx([0, expected, 20, 40, 40])
    assert poses[2, DOFS.index("nod")] == pytest.approx(10)


def test_classes_and_takes_differ_and_people_meet():
    first = [perform_action(0, label, 1, 1)[0] for label in range(len(ACTIONS))]
    assert len({xyz.tobytes() for xyz in first}) == len(ACTIONS) == len({action.name for action in ACTIONS}) == 24
    assert perform_action(0, 0, 1, 1)[0].tobytes() != perform_action(0, 0, 1, 2)[0].tobytes()
    for label, action in enumerate(ACTIONS):
        people = perform_action(0, label, 4, 1)
        assert len(people) == (1 if action.second is None else 2)
        if action.second:
            apart = np.linalg.norm((people[0] - people[1])[:, 0, [0, 2]], axis=-1)
            assert apart.min() < 1.15 * action.gap
            chest = [np.cross(p[0, AT["shoulder_right"]] - p[0, AT["shoulder_left"]], [0, 1, 0]) for p in people]
            towards = people[1][0, 0] - people[0][0, 0]
            assert -chest[0] @ chest[1] > 0  # face to face
            assert chest[0] @ towards < 0 or apart[0] < action.gap


def test_cameras_see_one_performance():
    people = perform_action(0, 18, 1, 1)
    seen = {camera: camera_view(people, Dice(0, 3, 1), camera) for camera in ANGLES}
    assert ANGLES == {1: 0.0, 2: -45.0, 3: 45.0}
    level = {c: [x[..., [0, 2]] for x in xs] for c, xs in seen.items()}
    for camera in (2, 3):  # rigid: all distances agree, also between the two people
        both, ours = np.concatenate(seen[camera], 1), np.concatenate(seen[1], 1)
        gaps = [np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (both, ours)]
        np.testing.assert_allclose(*gaps, atol=1e-9)
        assert np.abs(level[camera][0] - level[1][0]).max() > 0.1
    turned = camera_view([np.array([[[0.0, 1.0, -1.0]]])], Dice(0, 3, 1), 3)[0][0, 0]
    assert turned[0] < -0.5  # the camera at +45 degrees sees what is in front of the scene on its left
    noisy = {camera: track(xs, Dice(0, 9, camera)) for camera, xs in seen.items()}
    for camera, recording in noisy.items():
        if len(recording.bodies) == 2 * len(people[0]):
            listed = recording.bodies.reshape(-1, 2, 25, 3)
            error = min(np.median(np.abs(listed - np.stack(order, 1)))
                        for order in (seen[camera], seen[camera][::-1]))  # fmt: skip
            assert 0.002 < error < 0.03
