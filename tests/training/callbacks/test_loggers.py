"""Weights & Biases, TensorBoard and metrics.csv hold the same scalars; W&B's are read from what its client wrote."""

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skelssl.core.errors import UserError
from skelssl.core.identity import run_id
from skelssl.training.callbacks import loggers
from skelssl.training.callbacks.checkpoint import LastCheckpoint
from skelssl.training.callbacks.loggers import build_loggers, end_loggers, grouped
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from skelssl.training.trainer import build_data
from tests.helpers.config import train_config
from tests.helpers.wandb_file import configuration, history, records

ARGUMENTS = ("method.optim.epochs=2", "logger=[wandb,tensorboard]", "logger.wandb.offline=true",
             "logger.wandb.group=masks", "callbacks.pictures.every_n_epochs=1")  # fmt: skip
KEYS = {"train/loss", "train/temporal", "train/spatial", "optim/lr", "optim/grad_norm", "speed/clips_per_second",
        "mask/csm/share", "mask/csm/motion", "mask/matm/share", "mask/matm/motion", "features/std",
        "features/effective_rank", "probe/knn/top1"}  # fmt: skip


def from_csv(folder):
    return [
        {"trainer/global_step": int(row.pop("step")), **{k: float(v) for k, v in row.items() if v != ""}}
        for row in read_rows(folder / "metrics.csv")
    ]


def from_wandb(folder):
    rows = [{k: v for k, v in row.items() if not k.startswith("_")} for row in history(folder)]
    return [row for row in rows if "epoch" in row]


def from_tensorboard(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    rows = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            rows.setdefault(event.step, {"trainer/global_step": event.step})[tag] = event.value
    return [rows[step] for step in sorted(rows)]


def alike(rows, expected):
    return rows == [pytest.approx(row, rel=1e-5) for row in expected]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    end_loggers()


@pytest.fixture(scope="module")
def whole(data_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    config = train_config(data_root, *ARGUMENTS)
    train(config, folder)
    end_loggers()
    return config, folder


def test_all_three_hold_the_same_scalars(whole):
    _, folder = whole
    rows = from_csv(folder)
    assert len(rows) == 2
    assert rows[0].keys() >= KEYS
    assert alike(from_wandb(folder), rows)
    assert alike(from_tensorboard(folder), rows)


def pages(folder, name):
    """What W&B keeps for a picture, the oldest first."""
    key = f"pictures/{name}/path"
    found = [row[key] for row in history(folder) if key in row]
    (files,) = folder.glob("wandb/offline-run-*/files")
    return [(files / path).read_text("utf-8") for path in found]


def test_masks_are_drawn_for_wandb(whole):
    first, second = pages(whole[1], "masks")
    assert "after 1 epochs" in first
    assert "after 2 epochs" in second
    assert 'data-figure="player"' in first
    for title in ("anchor: unmasked", "spatial view: CSM", "temporal view: MATM"):
        assert title in first


def test_the_map_shows_training_clips_alone(whole):
    config, folder = whole
    data = build_data(config).dataset
    page = pages(folder, "embedding")[-1]
    assert 'data-figure="embedding"' in page
    assert all(data.store.names[i] in page for i in data.train)
    assert not any(data.store.names[i] in page for i in data.test)


def test_loggers_and_their_pictures_change_no_weight(whole, data_root, tmp_path):
    off = [f"callbacks.{name}=null" for name in ("monitor", "masks", "pictures")]
    train(train_config(data_root, "method.optim.epochs=2", *off), tmp_path)
    plain, logged = (load_file(f / "encoder" / "encoder.safetensors") for f in (tmp_path, whole[1]))
    assert all(torch.equal(plain[key], logged[key]) for key in plain)


def test_wandb_knows_configuration_study_and_run(whole):
    config, folder = whole
    run = next(record.run for record in records(folder) if record.WhichOneof("record_type") == "run")
    assert (run.project, run.run_group, run.job_type) == ("skelssl", "masks", "pstl")
    assert run.run_id == run_id(config)
    assert list(run.tags) == ["pstl", "synthetic", "joint"]
    assert configuration(folder)["method"]["optim"] == config["method"]["optim"]
    assert configuration(folder)["seed"] == 0


def test_a_row_that_a_kill_kept_out_reaches_all_three(whole, data_root, tmp_path, monkeypatch):
    """The checkpoint of the first epoch is there, its row is not."""

    def save_and_die(self, trainer):
        save(self, trainer)
        if self.row:
            raise OSError("killed")

    save = LastCheckpoint.save
    monkeypatch.setattr(LastCheckpoint, "save", save_and_die)
    config = train_config(data_root, *ARGUMENTS)
    with pytest.raises(OSError, match="killed"):
        train(config, tmp_path)
    end_loggers()
    assert from_csv(tmp_path) == []
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(config, tmp_path)
    end_loggers()

    rows = from_csv(tmp_path)
    same = [{k: v for k, v in row.items() if "speed" not in k} for row in from_csv(whole[1])]
    assert [{k: v for k, v in row.items() if "speed" not in k} for row in rows] == same
    assert alike(from_wandb(tmp_path), rows)
    assert alike(from_tensorboard(tmp_path), rows)


def test_tensorboard_hides_what_a_checkpoint_has_not_seen(data_root, tmp_path):
    config = train_config(data_root, "logger=tensorboard")
    for steps, loss in ((None, 2.0), (2, 1.0)):
        (logger,) = build_loggers(config, tmp_path, steps)
        for step in (1, 3) if steps is None else (3,):
            logger.log_metrics({"train/loss": loss}, step)
        logger.finalize("success")
    assert [(row["trainer/global_step"], row["train/loss"]) for row in from_tensorboard(tmp_path)] == [(1, 2), (3, 1)]


def test_a_study_is_the_group_unless_the_user_gave_one(data_root):
    config = train_config(data_root, "logger=wandb")
    assert grouped(config, "ratios")["logger"]["wandb"]["group"] == "ratios"
    assert grouped(grouped(config, "mine"), "ratios")["logger"]["wandb"]["group"] == "mine"
    assert grouped(train_config(data_root), "ratios")["logger"] == {}


def test_without_tensorboard(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"expected pip install 'skelssl\[tensorboard\]'"):
        build_loggers(train_config(data_root, "logger=tensorboard"), tmp_path)
