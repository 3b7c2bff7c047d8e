"""Clips kept on the device, and threads that gather ahead: the same bits by every way."""

import threading
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from skelssl.core.errors import UserError
from skelssl.core.identity import run_id
from skelssl.data.batch import Batch
from skelssl.data.loader import CPU, TrainLoader, ahead
from skelssl.data.module import open_dataset
from skelssl.data.resident import Resident, resident_bytes, stays_resident
from skelssl.training.loop import train
from tests.helpers.config import train_config


@pytest.fixture
def data(data_root):
    config = train_config(data_root, "method=mamp")  # its clips differ in length
    return open_dataset(config["dataset"], config["method"]["recipe"], config["data_root"])


def equal(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(x, y) and x.dtype == y.dtype and x.stride() == y.stride()
        for x, y in ((getattr(a, f.name), getattr(b, f.name)) for f in fields(Batch))
    )


def test_resident_clips_are_those_of_the_store(data):
    held = Resident(data.store, data.train, CPU)
    assert len(set(held.lengths.tolist())) > 3
    for rows in (data.train[:5], data.train[[7, 3, 30]], data.train[-1:]):
        assert equal(held.gather(rows), data.store.gather(rows))
    assert held.x.element_size() * held.x.numel() == resident_bytes(data.store, data.train)
    assert len(held.x) == 1 + sum(data.store.offsets[r + 1] - data.store.offsets[r] for r in data.train)


@pytest.mark.parametrize("options", [{"drop_last": True}, {"rank": 1, "world": 2}, {"overfit": 2}, {"workers": 3}])
def test_every_way_gives_the_same_batches(data, options):
    def run(**more):
        loader = TrainLoader(data.store, data.train, batch=8, seed=0, **options, **more)
        loader.load_state_dict({"position": 1})
        epochs = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            epochs += [*loader]
        return epochs, loader

    (plain, _), (kept, loader) = run(resident=False, prefetch=0), run(resident=True)
    threads, _ = run(resident="auto", prefetch=3)
    assert loader.kept is not None
    assert len(plain) == len(kept) == len(threads) == 2 * len(loader) - 1
    assert all(equal(a, b) and equal(a, c) for a, b, c in zip(plain, kept, threads, strict=True))


def test_threads_gather_while_the_batch_before_is_used_and_end_with_the_epoch(data):
    class Store:
        def __init__(self):
            self.begun, self.threads = [], set()

        def gather(self, rows, pin):
            self.begun.append(int(rows[0]))
            self.threads.add(threading.current_thread().name)
            return data.store.gather(rows, pin)

    before, store = threading.active_count(), Store()
    made = ahead(store, [np.array([i]) for i in range(6)], prefetch=2)
    next(made)
    while len(store.begun) < 3:  # the next two, while nobody asks for them
        threading.Event().wait(0.001)
    assert threading.main_thread().name not in store.threads
    assert max(store.begun) == 2
    made.close()  # in mid-epoch, as limit_train_batches does
    assert threading.active_count() == before
    assert len([*ahead(store, [np.array([i]) for i in range(6)], prefetch=2, workers=3)]) == 6
    assert threading.active_count() == before


def test_auto_copies_nothing_on_a_cpu():
    assert [stays_resident(choice, 8, CPU) for choice in ("auto", True, False)] == [False, True, False]
    with pytest.raises(UserError, match=r"method\.loader\.resident: found 'yes', expected auto, true or false"):
        stays_resident("yes", 8, CPU)


def test_auto_keeps_what_fills_a_quarter_of_a_gpu(monkeypatch):
    cuda = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8_000_000_000, 16_000_000_000))
    assert [stays_resident("auto", n, cuda) for n in (2_000_000_000, 2_000_000_001)] == [True, False]
    assert stays_resident(True, 5_000_000_000, cuda)
    with pytest.raises(UserError, match=r"found true, 9\.0 GB of clips and 8\.0 GB free on cuda:0, expected auto or"):
        stays_resident(True, 9_000_000_000, cuda)


def test_a_run_on_resident_clips_ends_in_the_same_weights(data_root, tmp_path, capsys):
    arguments = ["method=mamp", "callbacks.probe=null", "callbacks.masks=null"]
    configs = [train_config(data_root, *arguments, f"method.loader.resident={choice}") for choice in ("true", "false")]
    assert run_id(configs[0]) == run_id(configs[1])  # where clips lie does not make another run
    for name, config in zip("ab", configs, strict=True):
        train(config, tmp_path / name)
        assert ("GB of training clips stay on cpu" in capsys.readouterr().out) == (name == "a")
    kept, plain = (load_file(tmp_path / name / "encoder" / "encoder.safetensors") for name in "ab")
    assert all(torch.equal(kept[key], plain[key]) for key in plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_for_a_gpu_are_pinned_or_there(data):
    cuda = torch.device("cuda", 0)
    plain = [*TrainLoader(data.store, data.train, batch=8, seed=0)]
    for resident in (True, False):
        found = [*TrainLoader(data.store, data.train, batch=8, seed=0, resident=resident, device=cuda)]
        assert all(b.x.is_cuda if resident else b.x.is_pinned() and b.index.is_pinned() for b in found)
        assert all(torch.equal(a.x, b.x.cpu()) for a, b in zip(plain, found, strict=True))
