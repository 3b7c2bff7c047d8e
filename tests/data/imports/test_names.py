"""The order of rows without names, and what the name of a file says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skelssl.core.errors import UserError
from skelssl.data.imports.names import check_dataset, in_order, own_split
from skelssl.data.ntu.source import NTU

LIST = [
    "S001C001P003R001A001", "S001C001P008R001A001", "S001C002P001R001A002", "S001C003P001R001A001",
    "S002C001P001R001A001", "S002C001P003R001A001", "S002C002P106R001A001", "S003C002P008R002A001",
]  # fmt: skip


@pytest.mark.parametrize(("split", "train", "test"), [
    ("xsub", [2, 3, 4, 1, 7], [0, 5, 6]),  # performers 1, 8; then 3, 106
    ("xset", [4, 5, 6], [0, 1, 2, 3, 7]),  # set-up 2; then 1, 3
])  # fmt: skip
def test_rows_go_through_the_ids_of_the_split(split: str, train: list[int], test: list[int]) -> None:
    sides = in_order(LIST, NTU("ntu120"), split, "ids")
    assert sides == {"train": [LIST[i] for i in train], "test": [LIST[i] for i in test]}


def test_cameras_2_then_3() -> None:
    sides = in_order(LIST, NTU("ntu60"), "xview", "ids")
    assert sides["train"] == [LIST[2], LIST[6], LIST[7], LIST[3]]
    assert in_order(LIST, NTU("ntu60"), "xview", "name")["train"] == [LIST[2], LIST[3], LIST[6], LIST[7]]


def found(*hints: str) -> Any:
    return SimpleNamespace(path=Path(hints[0]), hints=hints)


@pytest.mark.parametrize(("hint", "dataset", "split"), [
    ("NTU60_XSub", "ntu60", "xsub"), ("NTU60_CS", "ntu60", "xsub"), ("NTU60_CV", "ntu60", "xview"),
    ("NTU120_CSub", "ntu120", "xsub"), ("NTU120_CSet", "ntu120", "xset"), ("NTU120_XSet", "ntu120", "xset"),
    ("xsetup", "ntu120", "xset"), ("xview", "ntu60", "xview"), ("mine", "ntu60", None),
])  # fmt: skip
def test_splits_by_name(hint: str, dataset: str, split: str | None) -> None:
    assert own_split(found(hint), NTU(dataset), None) == split
    assert own_split(found(hint), NTU(dataset), split) == split


def test_a_name_of_a_split_that_the_set_lacks() -> None:
    with pytest.raises(UserError, match="found a file of split xset by its name, expected one of xsub, xview of ntu60"):
        own_split(found("NTU_XSet"), NTU("ntu60"), None)


@pytest.mark.parametrize(
    ("name", "dataset"), [("NTU60_XSub.npz", "ntu120"), ("ntu120_3danno.pkl", "ntu60"), ("PKUv1_XSub.npz", "ntu60")]
)
def test_files_of_another_set(tmp_path: Path, name: str, dataset: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=rf"found a file of \w+ by its name, expected {dataset}"):
        check_dataset(tmp_path / name, NTU(dataset))
