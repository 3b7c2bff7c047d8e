"""What cannot be imported is refused with one sentence, and with its code in the report."""

from __future__ import annotations

import builtins
import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.build.prepare import build_parsed
from skelssl.data.imports import imported
from skelssl.data.imports.names import NAME_FILE
from skelssl.data.ntu.source import NTU
from skelssl.data.parsed import ParsedStore
from tests.data.imports.foreign import annotations, npz_arrays, published, write_label, write_parts
from tests.data.imports.test_imported import import_to

Arrays = dict[str, np.ndarray]


def refused(
    target: Path, path: Path, sentence: str, code: str | None = None, dataset: str = "ntu60", **options: Any
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        import_to(target, path, dataset=dataset, **options)
    assert "\n" not in str(caught.value)
    report = target / dataset / "v1" / "report.json"
    if code:
        assert [skip["code"] for skip in json.loads(report.read_text())["skipped"]] == [code]
        assert str(caught.value).endswith(f"({code})")
    assert not (target / dataset / "v1" / "parsed").exists()
    assert not (target / dataset / "v1" / ".import").exists()


def no_class(arrays: Arrays) -> None:
    arrays["y_train"][3] = 0


def few_labels(arrays: Arrays) -> None:
    arrays["y_test"] = arrays["y_test"][1:]


def flat(arrays: Arrays) -> None:
    arrays["x_test"] = arrays["x_test"][..., :75]


def no_test(arrays: Arrays) -> None:
    del arrays["x_test"]


@pytest.mark.parametrize(("change", "sentence", "code"), [
    (no_class, "found 1 rows of y_train without exactly one class, the first in row 3", "D31"),
    (few_labels, "labels for the 12 clips of x_test, expected one each", "D30"),
    (flat, r"found x_test of shape \(12, 300, 75\) and type float32, expected \(N, frames, 150\)", None),
    (no_test, "found the arrays x_train, y_test, y_train, expected x_train, y_train, x_test, y_test", None),
])  # fmt: skip
def test_npz_faults(
    raw: ParsedStore, tmp_path: Path, change: Callable[[Arrays], None], sentence: str, code: str | None
) -> None:
    arrays = npz_arrays(published(raw, "ctrgcn"))
    change(arrays)
    np.savez(tmp_path / "mine.npz", **arrays)
    refused(tmp_path, tmp_path / "mine.npz", sentence, code, split="xsub")


def test_npz_of_another_dataset_or_split(raw: ParsedStore, tmp_path: Path) -> None:
    arrays = npz_arrays(published(raw, "ctrgcn"))
    for name in ("mine", "NTU60_XSub", "NTU60_XView"):
        np.savez(tmp_path / f"{name}.npz", **arrays)
    refused(
        tmp_path, tmp_path / "mine.npz", r"y_train of shape \(24, 60\), expected .* the 120 classes", "D31", "ntu120"
    )
    refused(tmp_path, tmp_path / "NTU60_XSub.npz", "found a file of ntu60 by its name, expected ntu120", None, "ntu120")
    refused(tmp_path, tmp_path / "mine.npz", r"found no name that tells its split, expected dataset=ntu60_xsub or")
    refused(
        tmp_path, tmp_path / "NTU60_XView.npz", "found a file of split xview by its name, expected xsub", split="xsub"
    )


def test_names_that_labels_deny(raw: ParsedStore, tmp_path: Path) -> None:
    arrays = npz_arrays(published(raw, "ctrgcn"))
    arrays["x_train"], arrays["y_train"] = arrays["x_train"][::-1], arrays["y_train"][::-1]
    np.savez(tmp_path / "NTU60_XSub.npz", **arrays)
    (tmp_path / NAME_FILE).write_text("\n".join(raw.names))
    refused(
        tmp_path, tmp_path / "NTU60_XSub.npz", r"found label 51 for S001C001P001R001A001 in row 0 of train, expected 0"
    )


def test_a_list_of_names_that_does_not_fit(raw: ParsedStore, tmp_path: Path) -> None:
    np.savez(tmp_path / "NTU60_XSub.npz", **npz_arrays(published(raw, "ctrgcn")))
    path = tmp_path / "names.txt"
    path.write_text("\n".join(raw.names[1:]))
    refused(tmp_path, tmp_path / "NTU60_XSub.npz", "found 23 train names for 24 clips, expected one", names=path)
    refused(tmp_path, tmp_path / "NTU60_XSub.npz", "names=.*gone.*cannot be read", names=tmp_path / "gone")
    path.rename(tmp_path / NAME_FILE)  # found by itself it is no fault, but it is said
    store = import_to(tmp_path, tmp_path / "NTU60_XSub.npz")
    assert "has 23 train names for 24 clips" in json.loads((store.folder.parent / "report.json").read_text())["origin"]


def test_half_a_download(raw: ParsedStore, tmp_path: Path) -> None:
    np.savez(tmp_path / "NTU60_XSub.npz", **npz_arrays(published(raw, "ctrgcn")))
    content = (tmp_path / "NTU60_XSub.npz").read_bytes()
    (tmp_path / "NTU60_XSub.npz").write_bytes(content[: len(content) // 2])
    refused(tmp_path, tmp_path / "NTU60_XSub.npz", "found a damaged npz .* delete it and download it again", "D32")


def test_a_refused_import_leaves_the_report_of_the_store(raw: ParsedStore, tmp_path: Path) -> None:
    write_parts(tmp_path / "xsub", "position", published(raw, "aimclr"))
    kept = import_to(tmp_path, tmp_path / "xsub").folder.parent / "report.json"
    before = kept.read_bytes()
    (tmp_path / "NTU60_XSub.npz").write_bytes(b"PK and no more")
    with pytest.raises(UserError, match=r"found a damaged npz .*\(D32\)"):
        import_to(tmp_path, tmp_path / "NTU60_XSub.npz")
    assert kept.read_bytes() == before
    refusal = json.loads(kept.with_name("report.refused.json").read_text())
    assert [(skip["name"], skip["code"]) for skip in refusal["skipped"]] == [("NTU60_XSub.npz", "D32")]


@pytest.fixture
def arrays(raw: ParsedStore, tmp_path: Path) -> Path:
    """A folder of AimCLR's arrays."""
    write_parts(tmp_path / "xsub", "position", published(raw, "aimclr"))
    return tmp_path / "xsub"


def test_half_an_array(arrays: Path, tmp_path: Path) -> None:
    path = arrays / "val_position.npy"
    content = path.read_bytes()
    for damaged in (content[:-1000], content + b"more"):
        path.write_bytes(damaged)
        refused(
            tmp_path, arrays, r"val_position\.npy: found .* bytes of content, expected .* half-written: delete", "D32"
        )
    path.write_bytes(content[:60])
    refused(tmp_path, arrays, r"found no npy header", "D32")


def test_labels_of_another_length(arrays: Path, raw: ParsedStore, tmp_path: Path) -> None:
    write_label(arrays / "val_label.pkl", raw.names[:5])
    refused(tmp_path, arrays, r"found 5 labels for 12 clips, expected one each", "D30")


@pytest.mark.parametrize("content", [7, {"a": 1}, (["a"], ["b"]), ([1, 2], [3, 4]), [1.5]])
def test_label_pickles_of_no_known_form(arrays: Path, tmp_path: Path, content: Any) -> None:
    (arrays / "train_label.pkl").write_bytes(pickle.dumps(content))
    refused(tmp_path, arrays, r"train_label\.pkl: found .*expected \(names, labels\) or labels only", "D29")


def test_an_array_of_objects(arrays: Path, tmp_path: Path) -> None:
    np.save(arrays / "train_position.npy", np.array([{"a": 1}], object))
    refused(tmp_path, arrays, "found an array of pickled objects, expected one of numbers", "D29")


def test_the_wrong_split_or_class(arrays: Path, raw: ParsedStore, tmp_path: Path) -> None:
    arrays = arrays.rename(tmp_path / "xview")
    refused(tmp_path, arrays, r"found S001C001P001R001A001 on the train side of xview, expected ntu60's rule")
    names, numbers = pickle.loads((arrays / "train_label.pkl").read_bytes())
    (arrays / "train_label.pkl").write_bytes(pickle.dumps((names, [77] * len(numbers))))
    refused(tmp_path, arrays, "found label 77, expected 0 to 59 for the classes of ntu60", "D21")


def test_a_name_twice(arrays: Path, tmp_path: Path) -> None:
    names, numbers = pickle.loads((arrays / "train_label.pkl").read_bytes())
    (arrays / "train_label.pkl").write_bytes(pickle.dumps(([names[0], names[0], *names[2:]], [0, 0, *numbers[2:]])))
    refused(tmp_path, arrays, r"found two rows of that name in .* \(D18\)")


def test_missing_pieces(arrays: Path, raw: ParsedStore, tmp_path: Path) -> None:
    (arrays / "val_position.npy").rename(arrays / "val_data.npy")
    refused(tmp_path, arrays, r"found \*_position\.npy, \*_data\.npy|found \*_data\.npy, \*_position\.npy")
    refused(tmp_path, arrays / "train_position.npy", "found only train_position.npy, expected the other part")
    (arrays / "val_data.npy").rename(arrays / "val_position.npy")
    (arrays / "val_label.pkl").unlink()
    refused(tmp_path, arrays, r"val_label\.pkl: not found, expected the labels of val_position\.npy there")
    write_parts(tmp_path / "agcn", "data_joint", published(raw, "agcn"))
    refused(tmp_path, tmp_path / "agcn", r"train_num_frame\.npy: not found, expected the frame counts")
    (tmp_path / "empty").mkdir()
    refused(tmp_path, tmp_path / "empty", "found none of those, expected one of an .npz of CTR-GCN")
    refused(tmp_path, tmp_path / "gone", "found nothing there, expected an .npz of CTR-GCN")
    (tmp_path / "x.txt").write_text("hello")
    refused(tmp_path, tmp_path / "x.txt", "found a file of no known kind")


def test_two_dimensional_poses(raw: ParsedStore, tmp_path: Path) -> None:
    flat = {"S001C001P001R001A001": np.zeros((1, 8, 17, 2), np.float16)}
    content = annotations(flat)
    content["annotations"][0]["keypoint_score"] = np.zeros((1, 8, 17), np.float16)
    (tmp_path / "ntu60_hrnet.pkl").write_bytes(pickle.dumps(content))
    refused(
        tmp_path, tmp_path / "ntu60_hrnet.pkl", r"found 2-D poses \(17 joints .*expected 3-D skeletons of 25 joints"
    )


def test_annotations_of_another_form(raw: ParsedStore, tmp_path: Path) -> None:
    path, clips = tmp_path / "ntu60.pkl", published(raw, "pyskl")
    path.write_bytes(pickle.dumps([1]))
    refused(tmp_path, path, "found a pickle with list, expected one with split and annotations")
    content = annotations(clips)
    content["split"] = {"xset_train": [], "xset_val": []}
    path.write_bytes(pickle.dumps(content))
    refused(tmp_path, path, "found the lists xset_train, xset_val, expected train and val of xsub and xview")
    content = annotations(clips)
    content["split"]["xsub_val"] = content["split"].pop("xsub_train")
    path.write_bytes(pickle.dumps(content))
    refused(tmp_path, path, r"found S\w+ on the test side of xsub, expected ntu60's rule to hold")
    content["annotations"][0]["label"] = 5
    path.write_bytes(pickle.dumps(content))
    refused(tmp_path, path, r"found label 5 for S001C001P001R001A001 in row 0 of the annotations, expected 0")


def odd_annotations(clips: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, str]]:
    """Annotations of which some are odd, and the code of each of those."""
    content = annotations(clips)
    notes, x = content["annotations"], next(iter(clips.values()))
    shape = x.shape[1:]
    changes: list[tuple[str, Any, str]] = [
        ("keypoint", np.zeros((3, *shape), np.float16), "D24"), ("keypoint", np.zeros(0, np.float16), "D24"),
        ("keypoint", np.zeros((1, 8, 20, 3), np.float16), "D24"), ("keypoint", "nothing", "D24"),
        ("keypoint", None, "D24"), ("keypoint", np.zeros((1, *shape), np.int64), "D24"),
        ("keypoint", np.zeros((1, 8, 17, 2), np.float16), "D24"), ("total_frames", 1, "D02"),
        ("label", None, "D35"), ("label", float("nan"), "D35"),
    ]  # fmt: skip
    for note, (key, value, _) in zip(notes, changes, strict=False):
        note[key] = value
    del notes[len(changes)]["frame_dir"]
    notes[len(changes) + 1] = "a note"
    codes = {note["frame_dir"]: code for note, (_, _, code) in zip(notes, changes, strict=False)}
    return content, codes | {f"annotation in row {len(changes) + i}": "D24" for i in (0, 1)}


def test_an_odd_annotation_is_skipped(raw: ParsedStore, tmp_path: Path) -> None:
    path, (content, codes) = tmp_path / "ntu60.pkl", odd_annotations(published(raw, "pyskl"))
    path.write_bytes(pickle.dumps(content))
    store = import_to(tmp_path, path)
    assert store.names == sorted(note["frame_dir"] for note in content["annotations"][len(codes) :])
    report = json.loads((store.folder.parent / "report.json").read_text())
    assert {skip["name"]: skip["code"] for skip in report["skipped"]} == codes
    assert "found keypoints of shape (3," in next(s["reason"] for s in report["skipped"] if s["name"] == min(codes))
    content["annotations"] = content["annotations"][: len(codes)]
    path.write_bytes(pickle.dumps(content))
    first = content["annotations"][0]["frame_dir"]
    sentence = rf"found no usable annotation among 12, in the first, {first}: found keypoints of shape \(3,"
    refused(tmp_path / "all", path, sentence, "D24")


@pytest.mark.parametrize(("content", "sentence"), [
    ({"split": [], "annotations": []}, "found list and list as annotations and split, expected a list and a dict"),
    ({"split": {}, "annotations": 7}, "found int and dict as annotations and split"),
    ({"split": {"xsub_train": 7}, "annotations": []}, "found the split xsub_train int, expected lists of names"),
])  # fmt: skip
def test_annotations_that_are_no_list(tmp_path: Path, content: Any, sentence: str) -> None:
    (tmp_path / "ntu60.pkl").write_bytes(pickle.dumps(content))
    refused(tmp_path, tmp_path / "ntu60.pkl", sentence)


def test_a_folder_of_folders(raw: ParsedStore, tmp_path: Path) -> None:
    for folder in ("data/xsub", "data/deep/xview"):
        write_parts(tmp_path / folder, "position", published(raw, "aimclr"), folder.rpartition("/")[2])
    (tmp_path / "data" / "raw_data").mkdir()
    write_label(tmp_path / "data" / "raw_data" / "train_label.pkl", raw.names)
    write_label(tmp_path / "data" / "raw_data" / "val_label.pkl", raw.names)
    (tmp_path / "data" / "pyskl").mkdir()
    (tmp_path / "data" / "pyskl" / "ntu60.pkl").write_bytes(pickle.dumps(annotations(published(raw, "pyskl"))))
    sentence = (
        rf"import={tmp_path}/data: found such files only in its subfolders deep/xview, pyskl, xsub, expected one of "
        rf"these, such as import={tmp_path}/data/deep/xview$"
    )
    refused(tmp_path, tmp_path / "data", sentence)
    for folder in ("deep/xview", "pyskl", "xsub"):
        assert len(import_to(tmp_path / "store" / folder, tmp_path / "data" / folder)) == len(raw)


def denied(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Lets nobody open ``path``, root included."""
    really = builtins.open

    def opened(file: Any, *args: Any, **options: Any) -> Any:
        if file == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(file, *args, **options)

    monkeypatch.setattr(builtins, "open", opened)


@pytest.mark.parametrize("name", ["NTU60_XSub.npz", "ntu60.pkl", "xsub/train_position.npy", "xsub/val_label.pkl"])
def test_d33_a_file_without_permission(
    raw: ParsedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    np.savez(tmp_path / "NTU60_XSub.npz", **npz_arrays(published(raw, "ctrgcn")))
    (tmp_path / "ntu60.pkl").write_bytes(pickle.dumps(annotations(published(raw, "pyskl"))))
    write_parts(tmp_path / "xsub", "position", published(raw, "aimclr"))
    denied(monkeypatch, tmp_path / name)
    sentence = rf"^{tmp_path / name}: cannot be read \(Permission denied\), expected .* with read permission"
    refused(tmp_path, tmp_path / name.partition("/")[0], sentence, "D33")


def test_d33_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(Path, "iterdir", closed)
    refused(tmp_path, tmp_path / "closed", r"closed: cannot be read \(Permission denied\)", "D33")


def test_d33_no_room_to_unpack(raw: ParsedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    np.savez_compressed(tmp_path / "NTU60_XSub.npz", **npz_arrays(published(raw, "ctrgcn")))
    monkeypatch.setattr(shutil, "copyfileobj", full)
    sentence = r"v1: cannot unpack .*XSub.npz there \(No space left on device\), expected a data_root with room"
    refused(tmp_path, tmp_path / "NTU60_XSub.npz", sentence)


def test_d33_an_array_that_goes_while_it_is_read(arrays: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ntu60" / "v1" / "parsed"
    with imported([arrays], NTU("ntu60"), folder.parent) as source:
        (arrays / "val_position.npy").unlink()
        build_parsed(source, [arrays], folder, workers=1, strict=False, progress=False)
    skipped = json.loads((folder.parent / "report.json").read_text())["skipped"]
    assert {skip["code"] for skip in skipped} == {"D33"}
    assert {skip["reason"] for skip in skipped} == {"cannot be read (No such file or directory)"}
    assert len(skipped) == 12
    assert len(ParsedStore(folder)) == 24


def test_a_generated_set_takes_no_import(tmp_path: Path) -> None:
    from skelssl.data.synthetic import Synthetic

    with (
        pytest.raises(UserError, match="found synthetic, which is generated"),
        imported([tmp_path], Synthetic(), tmp_path),
    ):
        pass


def test_a_bad_file_among_raw_npy_is_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    good = {"file_name": "x", "skel_body0": np.ones((9, 25, 3)) + np.arange(9)[:, None, None]}
    for action, content in ((1, good), (2, [1]), (3, {"skel_body0": 3}), (4, {"skel_body0": np.ones((9, 20, 3))})):
        np.save(folder / f"S001C001P001R001A{action:03}.skeleton.npy", np.array(content, object))
    np.save(folder / "S001C001P001R001A005.skeleton.npy", np.zeros(3))
    (folder / "S001C001P001R001A006.skeleton.npy").write_bytes(b"\x93NUMPY")
    store = import_to(tmp_path, folder)
    assert store.names == ["S001C001P001R001A001"]
    found = json.loads((store.folder.parent / "report.json").read_text())["skipped"]
    assert {skip["name"][-1]: skip["code"] for skip in found} == dict.fromkeys("2345", "D29") | {"6": "D32"}


def test_fortran_order(arrays: Path, tmp_path: Path) -> None:
    np.save(arrays / "train_position.npy", np.asfortranarray(np.load(arrays / "train_position.npy")))
    refused(tmp_path, arrays, "found an array in Fortran order, expected C order", "D32")
