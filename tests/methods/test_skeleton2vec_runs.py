"""Skeleton2vec as a user runs it, on tiny synthetic data: resuming, what a run ships, evaluating several clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import skelssl
from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.data.batch import Batch
from skelssl.methods.build import build_method
from skelssl.methods.skeleton2vec import Skeleton2vec
from skelssl.pretrained.features import Features, extract
from skelssl.protocols.bench import evaluate, random_init
from skelssl.protocols.linear import head_logits, linear_head
from skelssl.protocols.linear_recipe import LinearRecipe
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from tests.helpers.config import compose, train_config

METHOD = "method=skeleton2vec"
PRESETS = sorted(
    f"{group}={path.stem}"
    for group in ("preset", "preset/family")
    for path in (config_dir() / group).glob("skeleton2vec_*.yaml")
)


def last_row(folder: Path) -> dict[str, float]:
    return {key: float(value) for key, value in read_rows(folder / "metrics.csv")[-1].items() if value}


def state(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return found


@pytest.fixture(scope="module")
def run(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("skeleton2vec")
    train(train_config(data_root, METHOD, "method.teacher.start=0.5"), folder)
    return folder


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains(data_root: Path, tmp_path: Path, preset: str) -> None:
    train(train_config(data_root, METHOD, preset, "callbacks.probe=null"), tmp_path)
    assert last_row(tmp_path)["train/momentum"] == pytest.approx(0.99995)  # second of two updates of one epoch


@pytest.mark.parametrize(
    "override",
    ["precision=bf16", "method.masks=2", "method.decoder.unshuffle=flat", "method.loss.share_absent=false",
     "method.loss.on_absent=false", "method.loss.block_norm=layer", "method.masking.beta=0", "stream=motion"],
)  # fmt: skip
def test_every_option_trains(data_root: Path, tmp_path: Path, override: str) -> None:
    train(train_config(data_root, METHOD, override, "callbacks.probe=null"), tmp_path)
    row = last_row(tmp_path)
    assert 0.8 < row["train/loss"] < 1.3
    assert row["train/target_std"] == pytest.approx(1, abs=0.1)
    monitors = {"prediction_std", "raw_token_std", "cross_sample_std", "position_r2", "prediction_skill",
                "loss_present", "loss_absent", "effective_rank", "teacher_gap", "momentum"}  # fmt: skip
    assert {f"train/{name}" for name in monitors} < row.keys()


class Stop(Exception):
    pass


def test_a_resumed_run_keeps_the_teacher_and_its_counter(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25: stopped in mid-epoch, and the next five steps end bit for bit where an uninterrupted run ends."""
    more = ("method.optim.epochs=2", "trainer.limit_train_batches=4", "callbacks.checkpoint.every_n_steps=1",
            "method.teacher.start=0.5")  # fmt: skip
    config = train_config(data_root, METHOD, *more)
    train(config, tmp_path / "whole")
    original, calls = Skeleton2vec.training_step, [0]

    def stops(self: Skeleton2vec, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise Stop
        return original(self, *args)

    monkeypatch.setattr(Skeleton2vec, "training_step", stops)
    with pytest.raises(Stop):
        train(config, tmp_path / "killed")
    assert int(state(tmp_path / "killed")["teacher.updates"]) == 3
    train(config, tmp_path / "killed")
    assert calls[0] == 4 + 5
    whole, resumed = state(tmp_path / "whole"), state(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert int(whole["teacher.updates"]) == 8
    rows = [read_rows(tmp_path / run / "metrics.csv") for run in ("whole", "killed")]
    for row in rows[0] + rows[1]:
        del row["speed/clips_per_second"]  # the one figure that depends on the machine
    assert rows[0] == rows[1]


def test_one_update_for_each_step_of_the_optimiser(data_root: Path, tmp_path: Path) -> None:
    """24: eight batches, four to a step; the momentum is that of two updates an epoch."""
    more = ("+trainer.accumulate_grad_batches=4", "trainer.limit_train_batches=8", "method.loader.batch=4")
    train(train_config(data_root, METHOD, *more, "callbacks.probe=null"), tmp_path)
    assert int(state(tmp_path)["teacher.updates"]) == 2
    assert last_row(tmp_path)["train/momentum"] == pytest.approx(0.99995)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_optimiser_sees_the_clipped_gradient(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """28: the norm over all parameters, once they have their final scale; and 24, that all of them are float32."""
    build, norms = Skeleton2vec.configure_optimizers, []

    def watched(self: Skeleton2vec) -> Any:
        optimiser = build(self)
        weights = [p for group in optimiser.param_groups for p in group["params"]]

        def look(*_: Any) -> None:
            norms.append(torch.cat([p.grad.flatten() for p in weights if p.grad is not None]).norm().item())

        optimiser.register_step_post_hook(look)
        return optimiser

    monkeypatch.setattr(Skeleton2vec, "configure_optimizers", watched)
    for clip in ("1.0e-3", "null"):
        more = (f"method.optim.clip={clip}", f"precision={precision}", "callbacks.probe=null")
        train(train_config(data_root, METHOD, *more), tmp_path / clip)
    assert norms[:2] == pytest.approx([1e-3] * 2, rel=1e-2)
    assert min(norms[2:]) > 1e-2
    assert {p.dtype for key, p in state(tmp_path / "null").items() if key != "teacher.updates"} == {torch.float32}


def test_a_run_ships_teacher_and_student(run: Path) -> None:
    """34: the teacher by default, the student by name; no decoder; every key, or an error."""
    last = state(run)
    for name, prefix in ((None, "teacher.module."), ("student", "student.")):
        encoder = skelssl.load_encoder(run, representation=name)
        own = encoder.state_dict()
        assert own.keys() == {key.removeprefix(prefix) for key in last if key.startswith(prefix)}
        assert all(torch.equal(value, last[prefix + key]) for key, value in own.items())
    files = [run / "encoder" / "encoder.safetensors", run / "encoder" / "student" / "encoder.safetensors"]
    assert not torch.equal(*(load_file(file)["norm.weight"] for file in files))
    with pytest.raises(UserError, match="representation: found 'graph', expected one of student in"):
        skelssl.load_encoder(run, representation="graph")


def test_a_missing_tensor_is_an_error(run: Path, tmp_path: Path) -> None:
    for part in ("encoder.safetensors", "config.json"):
        (tmp_path / part).write_bytes((run / "encoder" / part).read_bytes())
    weights = load_file(tmp_path / "encoder.safetensors")
    del weights["blocks.1.gamma2"]
    save_file(weights, tmp_path / "encoder.safetensors")
    with pytest.raises(UserError, match=r"blocks\.1\.gamma2: found no such tensor, expected shape \(16,\)"):
        skelssl.load_encoder(tmp_path)


def ask(data_root: Path, run: Path, protocol: str, *more: str) -> dict[str, Any]:
    places = (f"checkpoint='{run}'", f"data_root='{data_root}'", "debug=smoke")
    config = compose("evaluate", f"protocol={protocol}", *places, *more)
    return evaluate(config, [config["protocol"]])[0].result


def test_protocols_run_and_results_of_the_student_stand_apart(data_root: Path, run: Path) -> None:
    limits = "2 clips a class, 2 probe epochs"
    for protocol in ("linear", "knn"):
        assert ask(data_root, run, protocol)["setting"] == limits
        assert ask(data_root, run, protocol, "representation=student")["setting"] == f"student, {limits}"


def test_a_probe_leaves_the_encoder_as_it_is(data_root: Path, run: Path) -> None:
    """32."""
    before = {key: value.clone() for key, value in skelssl.load_encoder(run).state_dict().items()}
    ask(data_root, run, "linear", "rerun=true", "seed=3")
    after = skelssl.load_encoder(run).state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_the_random_encoder_is_the_start_of_both(data_root: Path, run: Path) -> None:
    method: Any = build_method(train_config(data_root, METHOD))
    drawn = random_init(read_json(run / "encoder" / "config.json"), 0, []).state_dict()
    for network in (method.student, method.encoder):
        assert all(torch.equal(network.state_dict()[key], value) for key, value in drawn.items())


def test_logits_of_several_clips_are_averaged(run: Path) -> None:
    """33: equal to the mean of single-clip calls, and the same whenever asked."""
    encoder: Any = skelssl.load_encoder(run)
    x = torch.randn(3, 3, 40, 25, 2, generator=torch.Generator().manual_seed(0))
    n = torch.tensor([40, 30, 7])
    batch, view = Batch(x, n, torch.zeros_like(n), torch.arange(3)), encoder.view["test"]
    features = extract(encoder, view, [batch], device="cpu")
    assert torch.equal(extract(encoder, view, [batch], device="cpu", seed=9).x, features.x)
    assert features.x.shape == (3, view.clips, encoder.dim)
    head = linear_head(encoder.dim, 5, LinearRecipe.read({"batch_norm": True}), seed=0)
    single = [head_logits(head, Features(features.x[:, [k]], n, batch.index)) for k in range(view.clips)]
    torch.testing.assert_close(head_logits(head, features), torch.stack(single).mean(0))
    with torch.no_grad():
        clips = view(batch)
        torch.testing.assert_close(features.x.flatten(0, 1), encoder(clips))
