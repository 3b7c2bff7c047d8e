"""Round trips: prepared from raw, exported as other code does, imported, and equal again."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.build.prepare import build_parsed
from skelssl.data.imports import imported
from skelssl.data.imports.names import NAME_FILE
from skelssl.data.module import open_dataset
from skelssl.data.ntu.source import NTU
from skelssl.data.parsed import ParsedStore
from skelssl.data.pku.source import PKU
from skelssl.data.recipes import RecipeConfig
from skelssl.data.store import RecipeStore, open_store
from tests.data.imports.foreign import (
    annotations,
    by_place,
    npz_arrays,
    published,
    write_parts,
)
from tests.helpers.config import compose


def import_to(
    target: Path, *paths: Path, dataset: str = "ntu60", workers: int = 1, shard_size: int = 7, **options: Any
) -> ParsedStore:
    folder = target / dataset / "v1" / "parsed"
    with imported(paths, NTU(dataset), folder.parent, **options) as source:
        build_parsed(source, paths, folder, workers=workers, strict=False, shard_size=shard_size, progress=False)
    assert not (folder.parent / ".import").exists()
    return ParsedStore(folder)


def report(store: ParsedStore) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((store.folder.parent / "report.json").read_text())
    return content


def splits(store: ParsedStore) -> dict[str, dict[str, list[str]]]:
    return {path.stem: json.loads(path.read_text()) for path in (store.folder.parent / "splits").glob("*.json")}


def store_of(parsed: ParsedStore, name: str, **arguments: Any) -> RecipeStore:
    return open_store(parsed.folder, RecipeConfig.parse({"name": name, **arguments}))


def assert_equal_stores(found: RecipeStore, wanted: RecipeStore) -> None:
    assert found.names == wanted.names
    np.testing.assert_array_equal(found.offsets, wanted.offsets)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    for fact in ("subject", "camera", "setup", "replication"):
        np.testing.assert_array_equal(found.facts[fact], wanted.facts[fact])
    assert np.asarray(found.x).tobytes() == np.asarray(wanted.x).tobytes()
    assert found.fingerprint == wanted.fingerprint


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_of_ctrgcn_with_names_by_row_order(raw: ParsedStore, tmp_path: Path, compressed: bool) -> None:
    clips = published(raw, "ctrgcn")
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "NTU60_XSub.npz", **npz_arrays(clips))
    (tmp_path / "statistics").mkdir()
    (tmp_path / "statistics" / NAME_FILE).write_text("\n".join(sorted(clips)) + "\n")
    store = import_to(tmp_path, tmp_path / "NTU60_XSub.npz")
    assert_equal_stores(store_of(store, "ctrgcn"), store_of(raw, "ctrgcn"))
    assert set(splits(store)) == {"xsub", "xview"}
    assert splits(store)["xview"]["test"] == [n for n in sorted(clips) if "C001" in n]
    assert "names by row order" in report(store)["origin"]
    assert store.form == "ctrgcn"


@pytest.mark.parametrize("split", ["xview", "xsub"])
def test_npz_with_a_given_list_of_names(raw: ParsedStore, tmp_path: Path, split: str) -> None:
    clips = published(raw, "ctrgcn")
    np.savez(tmp_path / "mine.npz", **npz_arrays(clips, split=split))
    (tmp_path / "list.txt").write_text("names\n" + "\n".join(f"{n}.skeleton" for n in sorted(clips, reverse=True)))
    store = import_to(tmp_path, tmp_path / "mine.npz", split=split, names=tmp_path / "list.txt")
    assert_equal_stores(store_of(store, "ctrgcn"), store_of(raw, "ctrgcn"))


def test_npz_of_ntu120_has_every_single_person_twice(raw: ParsedStore, tmp_path: Path) -> None:
    clips = published(raw, "ctrgcn", single_person_fill="copy")
    np.savez(tmp_path / "NTU120_XSet.npz", **npz_arrays(clips, 120, "xset", "ntu120"))
    (tmp_path / NAME_FILE).write_text("\n".join(sorted(clips)))
    store = import_to(tmp_path, tmp_path / "NTU120_XSet.npz", dataset="ntu120")
    copied = store_of(store, "ctrgcn", single_person_fill="copy")
    assert_equal_stores(copied, store_of(raw, "ctrgcn", single_person_fill="copy"))
    twins = [n for n in clips if np.array_equal(clips[n][:, :75], clips[n][:, 75:])]
    assert twins
    assert report(store)["warnings"]["D34"]["names"] == sorted(twins)
    with pytest.raises(UserError, match=r"single_person_fill: found zero, expected copy as the arrays imported"):
        store_of(store, "ctrgcn")


def a_pair_and_its_twin(raw: ParsedStore, fill: str) -> tuple[dict[str, np.ndarray], str]:
    """Published clips, one of two people changed to one person whom the sensor stored twice (D34), and its name."""
    clips = published(raw, "ctrgcn", single_person_fill=fill)
    pairs = [n for n, x in clips.items() if x[:, 75:].any() and not np.array_equal(x[:, :75], x[:, 75:])]
    twin = next(n for n in pairs if n.startswith("S002") and "P003" not in n)  # one that trains in all splits below
    clips[twin][:, 75:] = clips[twin][:, :75]
    return clips, twin


def test_one_twin_does_not_make_an_npz_that_of_ntu120(raw: ParsedStore, tmp_path: Path) -> None:
    clips, twin = a_pair_and_its_twin(raw, "zero")
    train = {n: x for n, x in clips.items() if n == twin or (x[:, :75].any() and not x[:, 75:].any())}
    for kept in (clips, train):  # with true pairs, and with the twin as the only pair
        np.savez(tmp_path / "NTU60_XSub.npz", **npz_arrays(kept))
        store = import_to(tmp_path / str(len(kept)), tmp_path / "NTU60_XSub.npz")
        assert twin in kept
        assert store.arguments == {"center": True, "single_person_fill": "zero"}
        assert len(store_of(store, "ctrgcn")) == len(kept)


def test_one_empty_second_person_does_not_make_an_npz_that_of_ntu60(raw: ParsedStore, tmp_path: Path) -> None:
    clips, twin = a_pair_and_its_twin(raw, "copy")
    clips[twin][:, 75:] = 0
    np.savez(tmp_path / "NTU120_XSet.npz", **npz_arrays(clips, 120, "xset", "ntu120"))
    store = import_to(tmp_path, tmp_path / "NTU120_XSet.npz", dataset="ntu120")
    assert store.arguments["single_person_fill"] == "copy"


def test_npz_of_pairs_alone_fits_either_fill(raw: ParsedStore, tmp_path: Path) -> None:
    clips, _ = a_pair_and_its_twin(raw, "zero")
    pairs = {n: x for n, x in clips.items() if x[:, 75:].any()}
    np.savez(tmp_path / "NTU60_XSub.npz", **npz_arrays(pairs))
    assert import_to(tmp_path, tmp_path / "NTU60_XSub.npz").arguments == {"center": True}


def test_npz_without_names(raw: ParsedStore, tmp_path: Path) -> None:
    clips = published(raw, "ctrgcn")
    arrays = npz_arrays(clips)
    np.savez(tmp_path / "NTU60_CS.npz", **arrays)
    store = import_to(tmp_path, tmp_path / "NTU60_CS.npz")
    train = [f"train-{i:06}" for i in range(1, len(arrays["x_train"]) + 1)]
    test = [f"test-{i:06}" for i in range(1, len(arrays["x_test"]) + 1)]
    assert splits(store) == {"xsub": {"train": train, "test": test}}
    assert "lost: subjects, cameras, every other split than xsub" in report(store)["origin"]
    derived = store_of(store, "ctrgcn")
    rows = derived.rows(train)
    x, n = arrays["x_train"], len(derived.x[derived.offsets[rows[1]] : derived.offsets[rows[1] + 1]])
    np.testing.assert_array_equal(
        derived.x[derived.offsets[rows[1]] : derived.offsets[rows[1] + 1]].reshape(n, 150), x[1, :n]
    )
    assert not x[1, n:].any()
    assert derived.labels[rows].tolist() == arrays["y_train"].argmax(1).tolist()
    assert (derived.facts["subject"] == -1).all()
    assert "setup" not in report(store)["missing"]


def test_training_on_a_split_that_an_import_lacks(raw: ParsedStore, tmp_path: Path) -> None:
    np.savez(tmp_path / "NTU60_CS.npz", **npz_arrays(published(raw, "ctrgcn")))
    import_to(tmp_path, tmp_path / "NTU60_CS.npz")
    recipe = {"name": "ctrgcn"}
    dataset = open_dataset(compose("prepare", "dataset=ntu60_xsub")["dataset"], recipe, tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (24, 12)
    sentence = r"dataset=ntu60_xview: found no such split in .*, expected one of xsub \(an import without sample names"
    with pytest.raises(UserError, match=sentence):
        open_dataset(compose("prepare", "dataset=ntu60_xview")["dataset"], recipe, tmp_path)


def test_uncentred_pku_npz(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    arrays = {"x_train": np.zeros((3, 300, 150), np.float32), "x_test": np.zeros((2, 300, 150), np.float32)}
    for x in arrays.values():
        x[:, :20, :75] = dice.normal(size=(len(x), 20, 75))
    arrays |= {"y_train": np.eye(51)[[0, 50, 7]], "y_test": np.eye(51)[[7, 0]]}
    np.savez(tmp_path / "PKUv1_XSub.npz", **arrays)
    folder = tmp_path / "pku1" / "v1" / "parsed"
    path = tmp_path / "PKUv1_XSub.npz"
    with imported([path], PKU("pku1"), folder.parent) as source:
        build_parsed(source, [path], folder, workers=1, strict=False, progress=False)
    derived = open_store(folder, RecipeConfig("ctrgcn", center=False))
    row = derived.rows(["train-000002"])[0]
    clip = derived.x[derived.offsets[row] : derived.offsets[row + 1]].reshape(-1, 150)
    np.testing.assert_array_equal(clip, arrays["x_train"][1, :20])
    assert derived.labels[row] == 50
    with pytest.raises(UserError, match=r"recipe\.center: found True, expected False as the arrays imported"):
        open_store(folder, RecipeConfig("ctrgcn"))


def test_stgcn_arrays_serve_aimclr(raw: ParsedStore, tmp_path: Path) -> None:
    clips = {n: np.zeros((3, 300, 25, 2), np.float32) for n in raw.names}
    for name, x in by_place(raw, 2).items():
        clips[name][:, : len(x)] = x.transpose(3, 0, 2, 1)
    write_parts(tmp_path / "xsub", "data", clips)
    store = import_to(tmp_path, tmp_path / "xsub")
    assert_equal_stores(store_of(store, "aimclr"), store_of(raw, "aimclr"))
    for other in ({"name": "agcn"}, {"name": "ctrgcn"}, {"name": "pyskl"}, {"name": "aimclr", "faithful": False}):
        with pytest.raises(UserError, match=r"in the form of recipe aimclr, expected .* needs the raw recordings"):
            store_of(store, **other)


def test_aimclr_arrays(raw: ParsedStore, tmp_path: Path) -> None:
    clips = published(raw, "aimclr")
    write_parts(tmp_path / "xview", "position", clips, "xview")
    np.save(tmp_path / "xview" / "train_motion.npy", np.zeros(3))
    store = import_to(tmp_path, tmp_path / "xview")
    assert_equal_stores(store_of(store, "aimclr"), store_of(raw, "aimclr"))
    assert splits(store)["xsub"]["train"] == [n for n in sorted(clips) if "P003" not in n]


def test_aimclr_arrays_with_labels_only(raw: ParsedStore, tmp_path: Path) -> None:
    clips, folder = published(raw, "aimclr"), tmp_path / "xsub"
    write_parts(folder, "position", clips)
    for part in ("train", "val"):
        _, numbers = pickle.loads((folder / f"{part}_label.pkl").read_bytes())
        (folder / f"{part}_label.pkl").unlink()
        np.save(folder / f"{part}_label.npy", np.array(numbers)[:, None])
    bare = import_to(tmp_path / "a", folder)
    assert set(splits(bare)) == {"xsub"}
    (folder / NAME_FILE).write_text("\n".join(sorted(clips)))
    assert_equal_stores(store_of(import_to(tmp_path / "b", folder), "aimclr"), store_of(raw, "aimclr"))


def test_agcn_arrays(raw: ParsedStore, tmp_path: Path) -> None:
    clips, folder = published(raw, "agcn"), tmp_path / "xsub"
    write_parts(folder, "data_joint", clips)
    length = dict(zip(raw.names, raw.index.n_frames, strict=True))
    for part in ("train", "val"):
        names, _ = pickle.loads((folder / f"{part}_label.pkl").read_bytes())
        np.save(folder / f"{part}_num_frame.npy", [length[n.removesuffix(".skeleton")] for n in names])
    store = import_to(tmp_path, folder)
    assert_equal_stores(store_of(store, "agcn"), store_of(raw, "agcn"))


def test_counts_above_the_array_are_clamped(raw: ParsedStore, tmp_path: Path) -> None:
    clips, folder = published(raw, "agcn"), tmp_path / "xsub"
    write_parts(folder, "data_joint", clips)
    for part in ("train", "val"):
        np.save(folder / f"{part}_num_frame.npy", np.full(len(np.load(folder / f"{part}_data_joint.npy")), 417))
    store = import_to(tmp_path, folder)
    assert set(store.index.n_frames) == {300}


def test_pyskl_annotations_to_the_rounding_of_float16(raw: ParsedStore, tmp_path: Path) -> None:
    clips = published(raw, "pyskl")
    (tmp_path / "ntu60_3danno.pkl").write_bytes(pickle.dumps(annotations(clips), 4))
    store = import_to(tmp_path, tmp_path / "ntu60_3danno.pkl")
    assert store.form == "pyskl"
    for i, name in enumerate(store.names):
        people = store.clip(i).persons().swapaxes(0, 1)[: len(clips[name])]
        np.testing.assert_array_equal(people, clips[name].astype(np.float32))
    found, wanted = store_of(store, "pyskl"), store_of(raw, "pyskl")
    assert found.names == wanted.names
    np.testing.assert_array_equal(found.offsets, wanted.offsets)
    np.testing.assert_allclose(found.x, wanted.x, atol=2 * 2**-9)  # two numbers below 8 metres, rounded
    aligned = store_of(store, "pyskl", align_spine=True)
    assert np.abs(aligned.x - found.x).max() > 0.1


def test_an_annotation_without_bodies_is_skipped(raw: ParsedStore, tmp_path: Path) -> None:
    clips = published(raw, "pyskl")
    nobody = sorted(clips)[0]
    clips[nobody] = np.zeros((0, 5, 25, 3), np.float16)
    (tmp_path / "ntu60_3d.pkl").write_bytes(pickle.dumps(annotations(clips), 2))
    store = import_to(tmp_path, tmp_path / "ntu60_3d.pkl")
    assert [(s["name"], s["code"]) for s in report(store)["skipped"]] == [(nobody, "D04")]
    assert len(store) == len(clips) - 1


def test_annotations_with_names_of_files_and_of_clips_that_are_not_there(raw: ParsedStore, tmp_path: Path) -> None:
    content, gone = annotations(published(raw, "pyskl")), "S001C001P001R002A001"
    for note in content["annotations"]:
        note["frame_dir"] += ".skeleton"
    content["split"]["xsub_train"] += [gone, "S002C001P001R002A001"]
    content["split"]["xsub_val"] = [name + ".skeleton" for name in content["split"]["xsub_val"]]
    (tmp_path / "ntu60_3d.pkl").write_bytes(pickle.dumps(content))
    store = import_to(tmp_path, tmp_path / "ntu60_3d.pkl")
    assert store.names == sorted(raw.names)
    assert store.facts["camera"].tolist() == raw.facts["camera"].tolist()
    note = f"ntu60_3d.pkl: 2 names of its lists have no annotation, {gone} first"
    assert note in report(store)["notes"]
    del content["split"]["xsub_train"][-2:]
    (tmp_path / "ntu60_3d.pkl").write_bytes(pickle.dumps(content))
    store = import_to(tmp_path, tmp_path / "ntu60_3d.pkl")
    assert not [note for note in report(store)["notes"] if "no annotation" in note]


def write_listed(folder: Path, clips: dict[str, np.ndarray]) -> None:
    """As NTU's ``txt2npy.py``: float64 arrays of the places in use, the name, and the counts of non-empty frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, x in clips.items():
        there = x.any((2, 3))
        used = int(there.any(0).nonzero()[0].max()) + 1
        content = {"file_name": name, "nbodys": there.sum(1)[there.any(1)].tolist(), "njoints": 25}
        content |= {f"skel_body{m}": x[:, m].astype(np.float64) for m in range(used)}
        np.save(folder / f"{name}.skeleton.npy", content)  # type: ignore[arg-type]


def test_raw_npy_serves_aimclr_and_agcn(raw: ParsedStore, tmp_path: Path) -> None:
    write_listed(tmp_path / "raw_npy", by_place(raw, 4))
    (tmp_path / "raw_npy" / "S001C001P001R001A061.skeleton.npy").write_bytes(b"")  # of NTU-120: no fault
    store = import_to(tmp_path, tmp_path / "raw_npy")
    assert store.form == "listed"
    assert_equal_stores(store_of(store, "aimclr"), store_of(raw, "aimclr"))
    assert_equal_stores(store_of(store, "agcn"), store_of(raw, "agcn"))
    with pytest.raises(UserError, match=r"form of recipe aimclr or agcn.*needs the raw"):
        store_of(store, "pyskl")
    assert [(s["code"], s["tolerated"]) for s in report(store)["skipped"]] == [("D21", True)]


def test_bytes_do_not_depend_on_workers_or_shards(raw: ParsedStore, tmp_path: Path) -> None:
    np.savez(tmp_path / "NTU60_XSub.npz", **npz_arrays(published(raw, "ctrgcn")))
    first = import_to(tmp_path / "a", tmp_path / "NTU60_XSub.npz", workers=1, shard_size=3)
    again = import_to(tmp_path / "b", tmp_path / "NTU60_XSub.npz", workers=2, shard_size=100)
    assert {p.name: p.read_bytes() for p in first.folder.iterdir()} == {
        p.name: p.read_bytes() for p in again.folder.iterdir()
    }


def test_the_same_import_again_is_kept_and_another_replaces_it(raw: ParsedStore, tmp_path: Path) -> None:
    path = tmp_path / "NTU60_XSub.npz"
    np.savez(path, **npz_arrays(published(raw, "ctrgcn")))
    before = (import_to(tmp_path, path).folder / "bodies.npy").stat().st_ino
    assert (import_to(tmp_path, path).folder / "bodies.npy").stat().st_ino == before
    write_parts(tmp_path / "xview", "position", published(raw, "aimclr"), "xview")
    store = import_to(tmp_path, tmp_path / "xview")
    assert store.form == "aimclr"
    shutil.rmtree(tmp_path / "xview")
    (tmp_path / "mine").mkdir()
    store = import_to(tmp_path, path)
    assert set(splits(store)) == {"xsub"}  # xview's list went with the set whose names told it


def test_nan_goes_through_the_one_repair(raw: ParsedStore, tmp_path: Path) -> None:
    clips = published(raw, "aimclr")
    broken, lost = sorted(clips)[:2]
    clips[broken][1, 7, 3, 0] = np.nan
    clips[lost][:] = np.nan
    write_parts(tmp_path / "xsub", "position", clips)
    store = import_to(tmp_path, tmp_path / "xsub")
    assert report(store)["warnings"]["D12"]["names"] == [broken]
    assert [(s["name"], s["code"]) for s in report(store)["skipped"]] == [(lost, "D12")]
    x = store.clip(store.names.index(broken)).persons()[:, 0, 3]
    np.testing.assert_allclose(x[7], (x[6] + x[8]) / 2, atol=1e-6)
