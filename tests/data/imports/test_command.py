"""``python -m skelssl.prepare import=...`` from start to end."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from skelssl.data.build.prepare import build_parsed
from skelssl.data.imports.names import NAME_FILE
from skelssl.data.ntu.source import NTU
from skelssl.data.parsed import ParsedStore
from skelssl.data.recipes import RecipeConfig
from skelssl.data.store import open_store
from tests.data.imports.foreign import annotations, npz_arrays, published, write_parts
from tests.data.imports.test_imported import assert_equal_stores, import_to, store_of
from tests.helpers.shared import data, shared


def command(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "skelssl.prepare", f"data_root={target}", "workers=1", *arguments]
    return subprocess.run(call, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_a_path_with_blanks_and_the_split_of_the_dataset(raw: ParsedStore, tmp_path: Path) -> None:
    folder = tmp_path / "my, files=(1)"
    folder.mkdir()
    np.savez(folder / "mine.npz", **npz_arrays(published(raw, "ctrgcn")))
    (folder / "the names.txt").write_text("\n".join(raw.names))
    call = (
        f"import={folder / 'mine.npz'}",
        f"names={folder / 'the names.txt'}",
        "dataset=ntu60_xsub",
        "recipes=[ctrgcn]",
    )
    result = command(tmp_path, *call, "strict=false")
    assert result.returncode == 0, result.stderr
    assert "CTR-GCN/MAMP arrays (npz) of recipe ctrgcn, 24 train + 12 test clips, 2 of 60 classes" in result.stdout
    store = open_store(tmp_path / "ntu60" / "v1" / "parsed", RecipeConfig("ctrgcn"))
    assert_equal_stores(store, store_of(raw, "ctrgcn"))
    result = command(tmp_path, *call, "strict=true")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ntu60: found 36 of 56,578 expected clips; missing")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("import=a", "raw=b"), "error: import=a: found raw=b as well, expected one of the two\n"),
    (("names=a", "raw=b"), "error: names=a: found no import=PATH, expected names only beside an import\n"),
    (("import=gone",), "error: import=gone: found nothing there, expected an .npz of CTR-GCN"),
])  # fmt: skip
def test_mistakes(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    result = command(tmp_path, "dataset=ntu60", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(sentence)


def test_workers_start_without_torch() -> None:
    code = "import sys, skelssl.data.imports; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_that_cannot_be_read_is_a_sentence(raw: ParsedStore, tmp_path: Path) -> None:
    write_parts(tmp_path / "xsub", "position", published(raw, "aimclr"))
    (tmp_path / "xsub" / "val_label.pkl").unlink()
    (tmp_path / "xsub" / "val_label.pkl").mkdir()  # a file without permission is none to whoever tests as root
    result = command(tmp_path, "dataset=ntu60", f"import={tmp_path / 'xsub'}")
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {tmp_path}/xsub/val_label.pkl: cannot be read (Is a directory), expected one with read permission "
        "(D33)\n"
    )


@shared
def test_real_recordings_there_and_back(tmp_path: Path) -> None:
    with zipfile.ZipFile(data("nw_ucla_as_ntu.zip")) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".skeleton"))[::40]
        archive.extractall(tmp_path / "raw", members)
    assert len(members) == 38
    folder = tmp_path / "v1" / "parsed"
    build_parsed(NTU(), [tmp_path / "raw"], folder, workers=1, strict=False, progress=False)
    raw = ParsedStore(folder)
    clips = published(raw, "ctrgcn")
    np.savez(tmp_path / "NTU60_XSub.npz", **npz_arrays(clips))
    (tmp_path / NAME_FILE).write_text("\n".join(clips))
    found = import_to(tmp_path / "npz", tmp_path / "NTU60_XSub.npz")
    assert_equal_stores(store_of(found, "ctrgcn"), store_of(raw, "ctrgcn"))
    (tmp_path / "ntu60_3danno.pkl").write_bytes(pickle.dumps(annotations(published(raw, "pyskl")), 2))
    found = import_to(tmp_path / "pkl", tmp_path / "ntu60_3danno.pkl")
    wanted = store_of(raw, "pyskl")
    # half a unit in the last place of float16 below 8 metres, for the joint and for the origin
    np.testing.assert_allclose(store_of(found, "pyskl").x, wanted.x, atol=2 * 2**-9)
    report = json.loads((found.folder.parent / "report.json").read_text())
    assert report["counts"]["clips"] == len(wanted)
