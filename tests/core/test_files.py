import json
import multiprocessing
import time

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.core.files import NpyWriter, atomic_file, atomic_folder, locked, read_json, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError), atomic_file(path, "w") as file:
        json.dump({"b": object()}, file)  # has written its first bytes when it fails
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    folder = tmp_path / "store"
    with atomic_folder(folder) as temporary:
        (temporary / "x").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(folder) as temporary:
        raise RuntimeError
    assert (folder / "x").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_unwritable_and_malformed_files_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("{")
    with pytest.raises(UserError, match="cannot be written"), atomic_file(tmp_path / "file" / "below"):
        pass
    with pytest.raises(UserError, match="cannot be written"), atomic_folder(tmp_path / "file" / "below"):
        pass
    with pytest.raises(UserError, match="malformed JSON"):
        read_json(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "none")


@pytest.mark.parametrize("rows", [[], [3], [1, 0, 4]])
def test_appended_rows_are_a_plain_npy(tmp_path, rows):
    parts = [np.random.default_rng(n).normal(size=(n, 2, 3)).astype(np.float32) for n in rows]
    writer = NpyWriter(tmp_path / "x.npy", "<f4", (2, 3))
    for part in parts:
        assert writer.append(part) == part.tobytes()
    writer.close()
    expected = np.concatenate([np.zeros((0, 2, 3), np.float32), *parts])
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy", mmap_mode="r" if rows else None), expected)


def _hold(path, started, seconds):
    with locked(path):
        started.set()
        time.sleep(seconds)


def test_a_lock_keeps_another_process_out(tmp_path):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", started, 0.5))
    process.start()
    started.wait(30)
    begin = time.monotonic()
    with locked(tmp_path / "lock"):
        waited = time.monotonic() - begin
    process.join()
    assert waited > 0.2
