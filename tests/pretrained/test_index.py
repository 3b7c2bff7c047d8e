"""``skelssl.Index`` against a plain sort of every cosine."""

from __future__ import annotations

import numpy as np
import pytest

import skelssl
from skelssl.core.errors import UserError
from skelssl.data.poses import Poses
from skelssl.pretrained.index import digest_of, is_index
from tests.pretrained.test_embed import body, small


def naive(query, features, names, k):
    cosines = [float(query @ f / np.linalg.norm(query) / np.linalg.norm(f)) for f in features.astype(np.float64)]
    order = sorted(range(len(names)), key=lambda i: (-cosines[i], i))[:k]
    return [(names[i], cosines[i]) for i in order]


def test_every_query_meets_every_clip():
    dice = np.random.default_rng(0)
    features, queries = dice.normal(size=(700, 16)).astype(np.float32), dice.normal(size=(300, 16)).astype(np.float32)
    names = [f"clip{i}" for i in range(700)]
    found = skelssl.Index(names, features, "digest").search_all(queries, k=7)
    assert len(found) == 300
    for query, hits in zip(queries, found, strict=True):
        wanted = naive(query.astype(np.float64), features, names, 7)
        assert [hit.name for hit in hits] == [name for name, _ in wanted]
        np.testing.assert_allclose([hit.similarity for hit in hits], [s for _, s in wanted], atol=1e-6)


def test_equally_near_clips_come_in_the_order_of_the_collection():
    features = np.tile(np.array([[1, 2, 3]], np.float32), (5, 1)) * np.array([[1], [2], [1], [5], [1]], np.float32)
    hits = skelssl.Index(list("abcde"), features, "digest").search(np.array([3, 2, 1]), k=4)
    assert [hit.name for hit in hits] == list("abcd")


@pytest.fixture(scope="module")
def encoder():
    return small()


@pytest.fixture(scope="module")
def clips():
    return {f"clip{i}": body(15 + i, seed=i) for i in range(6)}


@pytest.fixture(scope="module")
def index(encoder, clips):
    return skelssl.Index.build(clips, encoder)


def test_a_clip_finds_itself(index, clips, encoder):
    assert index.names == list(clips)
    np.testing.assert_array_equal(index.features, skelssl.embed(clips, encoder))
    for name, clip in clips.items():
        first = index.search(clip, k=2)[0]
        assert first.name == name
        assert first.similarity == pytest.approx(1, abs=1e-6)
    assert [hits[0].name for hits in index.search_all(clips, k=1)] == list(clips)
    assert index.search(index.features[3], k=1)[0].name == "clip3"


def test_names_come_from_the_files_the_poses_or_the_places(encoder, clips, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("clip1", "clip0"):
        np.save(tmp_path / "a" / f"{name}.npy", clips[name])
    folder = skelssl.Index.build(tmp_path, encoder)
    assert folder.names == ["a/clip0", "a/clip1"]
    assert folder.search(tmp_path / "a" / "clip1.npy", k=1)[0].name == "a/clip1"
    poses = Poses("jump", clips["clip0"], np.ones((15, 1, 25), np.float32), "ntu25", 30.0, "m")
    assert skelssl.Index.build([poses, clips["clip1"]], encoder).names == ["jump", "1"]
    assert skelssl.Index.build([poses], encoder, ["mine"]).names == ["mine"]
    with pytest.raises(UserError, match=r"query=.*: found 2 clips, expected one"):
        folder.search(tmp_path / "a")
    with pytest.raises(UserError, match=r"names: found 2 of them, expected 1"):
        skelssl.Index.build([poses], encoder, ["a", "b"])


def test_saved_and_loaded_it_is_the_same(index, encoder, clips, tmp_path):
    index.save(tmp_path / "index.npz")
    assert is_index(tmp_path / "index.npz")
    found = skelssl.Index.load(tmp_path / "index.npz", encoder)
    assert (found.names, found.digest) == (index.names, index.digest)
    np.testing.assert_array_equal(found.features, index.features)
    assert found.search(clips["clip4"]) == index.search(clips["clip4"])
    alone = skelssl.Index.load(tmp_path / "index.npz")
    assert alone.search(index.features[2]) == index.search(index.features[2])
    with pytest.raises(UserError, match=r"query: found a clip, and an index without an encoder"):
        alone.search(clips["clip4"])


def test_features_of_another_encoder_are_refused(index, tmp_path):
    index.save(tmp_path / "index.npz")
    other = small()
    other.norm.bias.data += 1e-6  # one bit is another encoder
    with pytest.raises(UserError, match=r"encoder: found one with the weights .*, expected .*, which the features"):
        skelssl.Index.load(tmp_path / "index.npz", other)
    view = small().about["view"]
    turned = small(view=view | {"test": view["test"] | {"ratio": 0.9}})
    assert digest_of(turned) != index.digest
    assert digest_of(small()) == index.digest


def test_a_stopped_save_leaves_the_older_file(index, tmp_path, monkeypatch):
    path = tmp_path / "index.npz"
    index.save(path)
    before = path.read_bytes()

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stopped)
    with pytest.raises(KeyboardInterrupt):
        index.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["index.npz"]


def test_mistakes_are_one_sentence(index, tmp_path):
    for k in (0, 7, 1.0, True):
        with pytest.raises(UserError, match=rf"k: found {k}, expected a whole number of 1 to 6"):
            index.search(index.features[0], k=k)
    with pytest.raises(UserError, match=r"query: found features of shape \(3,\), expected \(8,\), all finite"):
        index.search(np.zeros(3))
    (tmp_path / "other.npz").write_bytes(b"no")
    with pytest.raises(UserError, match=r"other\.npz: cannot be read as an index"):
        skelssl.Index.load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", names=np.array([object()], dtype=object), features=np.zeros(1), about="{}")
    with pytest.raises(UserError, match=r"pickle\.npz: cannot be read as an index"):
        skelssl.Index.load(tmp_path / "pickle.npz")
    assert not is_index(tmp_path / "other.npz")


@pytest.mark.parametrize("about", ["[1]", "{}", "3", "no json"])
def test_what_is_no_index_is_one_sentence(tmp_path, about):
    np.save(tmp_path / "x.npy", np.zeros(3))
    np.savez(tmp_path / "x.npz", names=np.array(["a"]), features=np.zeros((1, 2)), about=np.array(about))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match=r"cannot be read as an index .*, expected what Index.save wrote"):
            skelssl.Index.load(tmp_path / name)


def test_a_query_that_is_no_number_is_refused(index):
    with pytest.raises(UserError, match=r"expected .*, all finite"):
        index.search(np.full(8, np.nan, np.float32), k=1)
    with pytest.raises(UserError, match="query: found none, expected at least one clip"):
        index.search_all([], k=1)
