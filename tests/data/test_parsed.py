"""The parsed store: what goes in comes out, and a damaged store is a sentence."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.parsed import ClipIndex, ParsedStore, pack, write_store
from tests.helpers.clips import assert_same, make_clip

NAMES = ["S001C001P001R001A001", "S001C002P003R002A004", "S002C003P008R001A058"]
COUNTS = [(1, 2, 1), (0, 1), (2, 0, 0, 3)]
CLIPS = [make_clip(name, counts, seed) for seed, (name, counts) in enumerate(zip(NAMES, COUNTS, strict=True))]
META = {"dataset": "ntu60", "layout": "ntu25", "form": "raw", "class_names": ["a"], "arguments": {}, "inputs": "abc"}


def write(folder: Path, cuts: list[int]) -> ParsedStore:
    folder.mkdir()
    index = ClipIndex()
    for clip in CLIPS:
        index.add(clip)
    bounds = [0, *cuts, len(CLIPS)]
    parts = [pack(CLIPS[a:b]) for a, b in pairwise(bounds)]
    write_store(folder, parts, index, META)
    return ParsedStore(folder)


def test_clips_come_back_whatever_the_cut(tmp_path: Path) -> None:
    stores = [write(tmp_path / str(k), cuts) for k, cuts in enumerate([[], [1], [1, 2]])]
    for store in stores:
        assert (len(store), store.names, store.layout, store.dataset) == (3, NAMES, "ntu25", "ntu60")
        for i, clip in enumerate(CLIPS):
            assert_same(store.clip(i), clip)
        for file in stores[0].folder.iterdir():
            assert (store.folder / file.name).read_bytes() == file.read_bytes(), file.name


def test_columns(tmp_path: Path) -> None:
    store = write(tmp_path / "parsed", [])
    assert store.labels.tolist() == [0, 3, 57]
    assert {key: values.tolist() for key, values in store.facts.items()} == {
        "subject": [1, 3, 8], "camera": [1, 2, 3], "setup": [1, 1, 2], "replication": [1, 2, 1],
    }  # fmt: skip
    assert store.index.n_frames == [3, 2, 4]
    assert store.index.max_bodies == [2, 1, 3]
    assert np.load(store.folder / "frame_ptr.npy").tolist() == [0, 1, 3, 4, 4, 5, 7, 7, 7, 10]
    assert np.load(store.folder / "sample_ptr.npy").tolist() == [0, 3, 5, 9]


def test_unknown_facts_are_minus_one(tmp_path: Path) -> None:
    index, clip = ClipIndex(), make_clip()
    clip.facts.clear()  # type: ignore[attr-defined]
    index.add(clip)
    write_store(tmp_path, [pack([clip])], index, META)
    store = ParsedStore(tmp_path)
    assert {key: values.tolist() for key, values in store.facts.items()} == {fact: [-1] for fact in store.facts}
    assert store.clip(0).facts == {}


def test_fingerprint_follows_content_and_names(tmp_path: Path) -> None:
    first = write(tmp_path / "a", []).fingerprint
    assert write(tmp_path / "b", [2]).fingerprint == first
    CLIPS[0].track[0, 0] ^= 1
    assert write(tmp_path / "c", []).fingerprint != first
    CLIPS[0].track[0, 0] ^= 1


@pytest.mark.parametrize("key", ["bodies", "track", "frame_ptr"])
def test_half_written_and_missing_arrays(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "parsed", []).folder / f"{key}.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=rf"{key}.npy: found a missing or half-written array .*delete the folder"):
        ParsedStore(path.parent)
    path.unlink()
    with pytest.raises(UserError, match=rf"{key}.npy: found a missing or half-written array .*delete the folder"):
        ParsedStore(path.parent)


def test_arrays_of_another_store(tmp_path: Path) -> None:
    folder = write(tmp_path / "parsed", []).folder
    np.save(folder / "track.npy", np.zeros((3, 25), np.uint8))
    with pytest.raises(UserError, match="lengths disagree"):
        ParsedStore(folder)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found no parsed store"):
        ParsedStore(tmp_path / "parsed")
