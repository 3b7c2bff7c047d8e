"""A clip of every reader, from its file to features: those of the same numbers handed over as an array."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import skelssl
from skelssl.core.errors import UserError
from skelssl.data.custom.read import read_clips
from skelssl.data.poses import FORMATS
from tests.data.poses.test_images import WRITERS
from tests.helpers.poses import BVH, MIXAMO, dump, landmarks, pyskl_note, sure, tree, walk, write_pickle
from tests.pretrained.test_embed import body, small


def of_mediapipe(path, x, seen, order):
    frames = [{"pose_landmarks": [landmarks(x[t, 0], seen[t, 0])]} for t in range(len(x))]
    return dump(path / "clip.json", frames)


def of_pyskl(path, x, seen, order):
    return write_pickle(path / "clip.pkl", [pyskl_note("clip", x, seen, 0)])


ALL = [*WRITERS, ("mediapipe", "mediapipe33", of_mediapipe), ("pyskl", "coco17", of_pyskl)]


@pytest.mark.parametrize(("format", "name", "write"), ALL, ids=lambda v: getattr(v, "__name__", v))
def test_a_file_has_the_features_of_its_numbers(format, name, write, tmp_path):
    persons = 1 if format == "mediapipe" else 2
    x = walk(name, persons=persons, frames=16)
    seen = sure(x)
    if format != "mediapipe":
        seen[1, 1] = 0.01  # the first person is seen better
        seen[::3, 0, 7] = 0
    clips = read_clips(write(tmp_path, x, seen, None))
    (clip,) = clips.values()
    encoder, order = small(), np.argsort(-seen.sum((0, 2)), kind="stable")
    array = np.where(seen[..., None] > 0, x, np.nan)[:, order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = skelssl.embed(clips, encoder, fps=25, unit="auto")
        wanted = skelssl.embed(array, encoder, name, 25, unit="auto")
    assert clip.layout == name
    # Files hold rounded numbers; MediaPipe's are shares of the image, which its reader stretches to pixels.
    tolerance = 0.2 if format == "mediapipe" else 5e-3
    assert np.linalg.norm(found - wanted) < tolerance * np.linalg.norm(wanted)


def test_a_bvh_file_has_the_features_of_its_joints(tmp_path):
    made = BVH(tree(MIXAMO), ["ZXY"], frames=8)
    (tmp_path / "walk.bvh").write_text(made.text("mixamorig:"))
    (clip,) = read_clips(tmp_path).values()
    found = skelssl.embed(clip, small())
    wanted = skelssl.embed(
        np.where(clip.seen[..., None] > 0, clip.x, np.nan), small(), clip.layout, clip.fps, unit="cm"
    )
    np.testing.assert_array_equal(found, wanted)
    assert clip.layout == "smpl22"


def test_the_list_has_every_reader():
    assert {format for format, _, _ in ALL} | {"bvh"} == set(FORMATS)


def test_arrays_and_files_of_tools_lie_side_by_side(tmp_path):
    np.save(tmp_path / "b.npy", body())
    (tmp_path / "deep").mkdir()
    np.savez(tmp_path / "deep" / "a.npz", body(9))
    of_pyskl(tmp_path, walk("coco17"), sure(walk("coco17")), None)
    found = read_clips(tmp_path)
    assert list(found) == ["b", "clip/clip", "deep/a"]
    assert found["deep/a"].shape == (9, 1, 25, 3)
    assert list(read_clips(tmp_path / "b.npy")) == ["b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", r"x\.npy: half-written, or no array of numbers .* \(D32\)"),
        ("x.npz", b"PK", r"x\.npz: no complete \.npz archive \(D02\)"),
        ("x.json", b"{}", r"x\.json: found a file of no known kind"),
    ],
)
def test_a_damaged_file_is_one_sentence(name, content, message, tmp_path):
    Path(tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_clips(tmp_path)
    assert "\n" not in str(caught.value)
