"""The synthetic set as a source: names, bytes, cameras, splits and the floor it is built for."""

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.data.clip import RawClip
from skelssl.data.report import Report
from skelssl.data.split import ClipTable
from skelssl.data.synthetic import Synthetic
from skelssl.protocols.floor import raw_features, raw_one_nn, raw_ridge

JOINTS = 25


def table(source: Synthetic) -> tuple[ClipTable, list[RawClip]]:
    clips = [clip for entry in source.entries([], Report("synthetic")) for clip in source.read(entry)]
    facts = {key: np.array([clip.facts[key] for clip in clips]) for key in clips[0].facts}
    return ClipTable([c.name for c in clips], np.array([c.label for c in clips]), facts), clips


@pytest.fixture(scope="module")
def default():
    return table(Synthetic())


def padded(clip: RawClip, length: int = 110) -> tuple[np.ndarray, int]:
    """The first two bodies of every frame that has one, as (3, T, V, 2) and the number of frames."""
    x, t = np.zeros((3, length, JOINTS, 2), np.float32), 0
    for start, stop in zip(clip.frame_ptr[:-1], clip.frame_ptr[1:], strict=True):
        if stop > start:
            bodies = clip.bodies[start : min(stop, start + 2)]
            x[:, t, :, : len(bodies)] = bodies.transpose(2, 1, 0)
            t += 1
    return x, t


def test_a_clip_is_the_same_bytes_everywhere():
    clip = Synthetic().clip(label=20, subject=3, camera=2)
    digest = hashlib.sha256()
    for array in (clip.bodies, clip.body_id, clip.track, clip.frame_ptr):
        digest.update(array.tobytes())
    assert digest.hexdigest() == "e600670c2fd73497f3df7c0ea2ee9fde8aadc1104fb23027937c7a44a823f42f"


def test_a_clip_depends_on_its_own_name_only():
    small, large = Synthetic(classes=4, subjects=3), Synthetic(replications=3)
    for label, subject, camera in ((0, 1, 1), (3, 3, 2), (2, 2, 3)):
        ours, theirs = small.clip(label, subject, camera), large.clip(label, subject, camera)
        assert ours.name == theirs.name
        assert np.array_equal(ours.bodies, theirs.bodies)
    assert not np.array_equal(Synthetic(seed=1).clip(0, 1, 1).bodies[0], small.clip(0, 1, 1).bodies[0])


def test_entries_are_sorted_complete_and_read_as_named():
    source = pickle.loads(pickle.dumps(Synthetic(classes=5, subjects=4, replications=2)))
    entries = source.entries([], Report("synthetic"))
    names = [entry.name for entry in entries]
    assert names == sorted(set(names))
    assert len(names) == source.expected()["clips"] == 5 * 4 * 3 * 2
    clip = source.read(entries[names.index("S003C002P003R002A005")])[0]
    assert (clip.name, clip.label) == ("S003C002P003R002A005", 4)
    assert clip.facts == {"subject": 3, "camera": 2, "setup": 3, "replication": 2}
    assert {entry.location for entry in entries}.isdisjoint(
        e.location for e in Synthetic(seed=7).entries([], Report("synthetic"))
    )


def test_clips_have_the_shape_of_a_recording(default):
    clips = default[1]
    bodies = 0
    for clip in clips:
        counts = np.diff(clip.frame_ptr)
        assert 40 <= clip.n_frames <= 110
        assert counts.min() >= 0
        assert len(clip.bodies) == len(clip.body_id) == len(clip.track) == clip.frame_ptr[-1]
        assert np.isfinite(clip.bodies).all()
        assert set(np.unique(clip.track)) <= {1, 2}
        assert (clip.bodies[..., 2] > 0.5).all()  # in front of the camera
        assert (clip.body_id >= 2**56).all()
        bodies += np.median(counts) == 2
    assert bodies == 6 * 10 * 3  # six classes are for two
    inferred = np.concatenate([c.track.ravel() for c in clips]) == 1
    assert 0.03 < inferred.mean() < 0.2


def test_faults_of_a_tracker_occur_and_stay_rare(default):
    clips = default[1]
    single = [c for c in clips if c.label < 18]
    empty = np.mean([(np.diff(c.frame_ptr) == 0).any() for c in single])
    ghost = np.mean([(np.diff(c.frame_ptr) > 1).any() for c in single])
    renamed = np.mean([len(set(c.body_id[c.frame_ptr[:-1][np.diff(c.frame_ptr) > 0]])) > 1 for c in single])
    assert all(0.01 < share < 0.09 for share in (empty, ghost, renamed))


def test_splits_follow_the_rules_of_ntu():
    source = Synthetic(classes=2, subjects=4)
    clips, _ = table(source)
    subject, view = source.split("xsub", clips), source.split("xview", clips)
    assert {name[8:12] for name in subject.train} == {"P001", "P002", "P004"}
    assert {name[8:12] for name in subject.test} == {"P003"}
    assert {name[4:8] for name in view.train} == {"C002", "C003"}
    assert {name[4:8] for name in view.test} == {"C001"}
    with pytest.raises(UserError, match=r"found 'xset', expected one of xsub, xview"):
        source.split("xset", clips)


@pytest.mark.parametrize(("key", "value"), [("classes", 25), ("subjects", 41), ("replications", 0), ("seed", -1)])
def test_a_count_out_of_range_is_a_sentence(key, value):
    with pytest.raises(UserError, match=rf"dataset\.source\.{key}: found {value}, expected \d+ to \d+"):
        Synthetic(**{key: value})


def test_workers_need_no_torch():
    code = "import sys, skelssl.data.synthetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_classes_can_be_learnt_but_coordinates_do_not_suffice(default):
    clips, raw = default
    x, frames = zip(*map(padded, raw), strict=True)
    features = raw_features(torch.from_numpy(np.stack(x)), torch.tensor(frames))
    label = torch.from_numpy(clips.labels)
    train = torch.from_numpy(np.isin(clips.names, Synthetic().split("xsub", clips).train))
    arguments = features[train], label[train], features[~train], label[~train]
    assert raw_one_nn(*arguments) == pytest.approx(0.601, abs=0.01)
    assert raw_ridge(*arguments) == pytest.approx(0.569, abs=0.02)
