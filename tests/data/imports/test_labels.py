"""Label files as the ST-GCN family wrote them over the years."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import Refused
from skelssl.data.imports.labels import from_one_hot, read_labels

NAMES, NUMBERS = ["S001C001P001R001A001", "S001C001P001R001A060"], [0, 59]
FILES = [name + ".skeleton" for name in NAMES]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(("content", "named"), [
    ((FILES, NUMBERS), True), ([FILES, NUMBERS], True), ((NAMES, np.array(NUMBERS)), True),
    ((np.array(FILES), np.array(NUMBERS)[:, None]), True), ((np.array(FILES, object), [np.int64(0), 59.0]), True),
    (NUMBERS, False), (np.array(NUMBERS, np.int32), False), (np.array(NUMBERS)[:, None], False),
])  # fmt: skip
def test_every_form_in_every_protocol(tmp_path: Path, content: Any, named: bool, protocol: int) -> None:
    path = tmp_path / "train_label.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    labels, names = read_labels(path)
    assert labels.tolist() == NUMBERS
    assert labels.dtype == np.int64
    assert names == (NAMES if named else None)


def test_python_2_wrote_text_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "train_label.pkl"
    path.write_bytes(b"\x80\x02]q\x00(U\x1dS001C001P001R001A001.skeletonq\x01e]q\x02K\x00a\x86q\x03.")
    labels, names = read_labels(path)
    assert (labels.tolist(), names) == ([0], NAMES[:1])
    path.write_bytes(b"((lp0\nS'S001C001P001R001A001.skeleton'\np1\na(lp2\nI0\natp3\n.")  # protocol 0
    assert read_labels(path)[1] == NAMES[:1]


def test_an_array_under_either_name(tmp_path: Path) -> None:
    for path in (tmp_path / "a_label.npy", tmp_path / "a_label.pkl"):
        with open(path, "wb") as file:
            np.save(file, np.array(NUMBERS)[:, None])
        assert read_labels(path)[0].tolist() == NUMBERS


def test_one_hot() -> None:
    path = Path("x.npz")
    assert from_one_hot(np.eye(60)[NUMBERS], 60, path, "y").tolist() == NUMBERS
    with pytest.raises(
        Refused, match=r"found y of shape \(2, 60\), expected one-hot rows for the 120 classes .*\(D31\)"
    ):
        from_one_hot(np.eye(60)[NUMBERS], 120, path, "y")
    with pytest.raises(Refused, match=r"found 2 rows of y without exactly one class, the first in row 0.*\(D31\)"):
        from_one_hot(np.array([[0, 0.0], [1, 1]]), 2, path, "y")
