import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.data.loader import TrainLoader, batches
from skelssl.data.module import open_dataset
from skelssl.data.recipes import RecipeConfig
from skelssl.data.store import open_store
from tests.helpers.config import train_config


@pytest.fixture
def config(data_root):
    return train_config(data_root)


@pytest.fixture
def data(config):
    return open_dataset(config["dataset"], config["method"]["recipe"], config["data_root"])


def test_a_split_by_subject(data):
    subjects = data.store.facts["subject"]
    assert set(subjects[data.train]) == {1, 2, 4}
    assert set(subjects[data.test]) == {3}
    assert len(data.train) == 36
    assert len(data.test) == 12
    assert data.classes == 4
    assert len(data.class_names) == 4


def test_gather_is_the_recipe_array_of_each_clip(data):
    rows = np.array([5, 0, 47])
    batch = data.store.gather(rows)
    assert batch.x.shape == (3, 3, 50, 25, 2)
    assert batch.frames.tolist() == [50, 50, 50]
    assert batch.label.tolist() == data.store.labels[rows].tolist()
    for n, row in enumerate(rows):
        clip = np.load(data.store.folder / "x.npy")[row * 50 : row * 50 + 50]
        np.testing.assert_array_equal(batch.x[n].numpy(), clip.transpose(3, 0, 2, 1))


def test_ragged_clips_are_padded_with_zeros(data):
    store = data.store
    store.offsets = np.array([0, 3, 10], np.int64)
    batch = store.gather(np.array([0, 1]))
    assert batch.frames.tolist() == [3, 7]
    assert batch.x.shape[2] == 7
    assert not batch.x[0, :, 3:].any()
    assert batch.x[0, :, :3].any()


def test_an_epoch_holds_every_clip_once_and_depends_on_seed_and_epoch(data):
    def order(seed, epoch, **options):
        loader = TrainLoader(data.store, data.train, batch=8, seed=seed, **options)
        loader.sampler.set_epoch(epoch)
        return [b.index.tolist() for b in loader]

    first = order(0, 0)
    assert sorted(row for rows in first for row in rows) == data.train.tolist()
    assert [len(b) for b in first] == [8, 8, 8, 8, 4]
    assert first == order(0, 0, prefetch=0)
    assert first != order(0, 1)
    assert first != order(1, 0)
    assert [len(b) for b in order(0, 0, drop_last=True)] == [8] * 4
    assert len(order(0, 0, min_batch=5)) == 4


def test_the_same_few_batches(data):
    loader = TrainLoader(data.store, data.train, batch=8, seed=0, overfit=2)
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append([b.index.tolist() for b in loader])
    assert epochs[0] == epochs[1]
    assert sorted(row for rows in epochs[0] for row in rows) == data.train[:16].tolist()


def test_clips_a_recipe_cannot_use_are_named(data, tmp_path, capsys):
    copy = tmp_path / "v1"
    shutil.copytree(data.store.folder.parent.parent, copy)
    shutil.rmtree(copy / "recipes")
    bodies = np.load(copy / "parsed" / "bodies.npy", mmap_mode="r+")
    bodies[0, 0, 0] = np.nan
    bodies.flush()
    store = open_store(copy / "parsed", RecipeConfig("aimclr"))
    assert list(store.skipped.values()) == ["D12: NaN or infinite coordinates"]
    assert len(store) == 47
    assert "skipped S001" in capsys.readouterr().out
    assert len(store.rows([*store.names, *store.skipped])) == 47
    with pytest.raises(UserError, match="found no clip X, expected every clip of the split"):
        store.rows(["X"])


def test_ranks_share_the_global_batch(data):
    def run(rank, world):
        return [b.index.tolist() for b in TrainLoader(data.store, data.train, batch=8, seed=0, rank=rank, world=world)]

    whole, first, second = run(0, 1), run(0, 2), run(1, 2)
    assert [a + b for a, b in zip(first, second, strict=True)] == whole  # so that gathering restores the order


def test_a_batch_that_ranks_cannot_share_is_refused(data):
    with pytest.raises(UserError, match=r"method\.loader\.batch: found 8, expected a multiple of the 3 ranks"):
        TrainLoader(data.store, data.train, batch=8, seed=0, world=3)
    rows = data.train[:19]
    with pytest.raises(UserError, match=r"drop_last: found false, and a last batch of 3 clips for 8 ranks"):
        TrainLoader(data.store, rows, batch=16, seed=0, world=8)
    assert len(TrainLoader(data.store, rows, batch=16, seed=0, world=8, drop_last=True)) == 1


def test_the_loader_goes_on_where_it_was(data):
    def loader():
        made = TrainLoader(data.store, data.train, batch=8, seed=0)
        made.sampler.set_epoch(3)
        return made

    whole = [b.index.tolist() for b in loader()]
    broken = loader()
    begun = iter(broken)
    next(begun), next(begun)
    assert [b.index.tolist() for b in broken] == whole  # an epoch that was cut short does not shorten the next
    begun = iter(broken)
    next(begun), next(begun)
    resumed = loader()
    resumed.load_state_dict(broken.state_dict())
    assert [b.index.tolist() for b in resumed] == whole[2:]
    assert [b.index.tolist() for b in resumed] == whole  # and the next epoch is a whole one


def test_batches_are_in_order(data):
    index = torch.cat([b.index for b in batches(data.store, data.test, batch=5)])
    assert index.tolist() == data.test.tolist()


def test_a_store_of_another_recipe_is_refused(data, tmp_path):
    copy = tmp_path / "v1"
    shutil.copytree(data.store.folder.parent.parent, copy)
    other = RecipeConfig("aimclr", pku_interval="after_start")
    os.rename(copy / "recipes" / data.store.folder.name, copy / "recipes" / other.id)
    with pytest.raises(UserError, match=r"found a store of recipe .*'inclusive'.*expected .*'after_start'"):
        open_store(copy / "parsed", other)


def test_a_store_of_older_parsed_data_is_derived_anew(data, tmp_path, capsys):
    copy = tmp_path / "v1"
    shutil.copytree(data.store.folder.parent.parent, copy)
    about = copy / "recipes" / data.store.folder.name / "recipe.json"
    recipe = json.loads(about.read_text())
    about.write_text(json.dumps({**recipe, "parsed": "older"}))
    stale = about.parent.with_name(f".{about.parent.name}.1.tmp")  # of a process that was killed
    stale.mkdir()
    store = open_store(copy / "parsed", RecipeConfig("aimclr"))
    assert "deriving recipe aimclr" in capsys.readouterr().out
    assert store.parsed == recipe["parsed"]
    assert store.fingerprint == data.store.fingerprint
    assert not stale.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from skelssl.core import files
from skelssl.data.recipes import RecipeConfig
from skelssl.data.store import open_store

append, left = files.NpyWriter.append, [20]

def fatal(self, rows):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return append(self, rows)

files.NpyWriter.append = fatal
open_store(Path(sys.argv[1]), RecipeConfig("aimclr"))
"""


def test_a_derivation_that_was_killed_leaves_nothing_and_is_made_anew(data, tmp_path):
    copy = tmp_path / "v1"
    shutil.copytree(data.store.folder.parent.parent, copy)
    folder = copy / "recipes" / data.store.folder.name
    shutil.rmtree(folder)
    process = subprocess.run([sys.executable, "-c", KILLED, str(copy / "parsed")], capture_output=True)
    assert process.returncode == -signal.SIGKILL
    assert not folder.exists()
    assert list(folder.parent.glob(f".{folder.name}.*.tmp"))
    open_store(copy / "parsed", RecipeConfig("aimclr"))
    for file in data.store.folder.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes(), file.name
    assert not list(folder.parent.glob("*.tmp"))


def test_a_cut_store_is_refused_with_a_hint(data, tmp_path):
    copy = tmp_path / "v1"
    shutil.copytree(data.store.folder.parent.parent, copy)
    x = copy / "recipes" / data.store.folder.name / "x.npy"
    x.write_bytes(x.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"x\.npy: cannot be read .*delete its folder"):
        open_store(copy / "parsed", RecipeConfig("aimclr"))


def test_missing_data_and_missing_split(config, tmp_path):
    ntu = {**config["dataset"], "name": "ntu60_xsub", "source": {"_target_": "skelssl.data.ntu.NTU"}}
    with pytest.raises(UserError, match=r"ntu60.v1.parsed: not found, expected the prepared ntu60; run: python -m"):
        open_dataset(ntu, config["method"]["recipe"], tmp_path)
    with pytest.raises(
        UserError, match="dataset: found ntu60, which has no split, expected one of ntu60_xsub, ntu60_x"
    ):
        open_dataset({**ntu, "name": "ntu60", "split": None}, config["method"]["recipe"], tmp_path)
