"""Every encoder leaves as torch.export and ONNX, with any batch, and with the features that it has here."""

from __future__ import annotations

import importlib

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import skelssl
from skelssl.core.errors import UserError
from skelssl.encoders import tokens
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.gru import GRU
from skelssl.encoders.hcn import HCN
from skelssl.encoders.representations import ConcatL2
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from skelssl.pretrained import export as exporting
from skelssl.pretrained.export import examples, export_encoder, input_shape, parity, write_encoder
from skelssl.pretrained.files import save_encoders
from skelssl.pretrained.foreign import foreign_about
from skelssl.pretrained.load import build_encoder
from tests.helpers.config import train_config
from tests.pretrained.test_embed import body, small

TINY = {"hidden": 8, "depth": 1, "heads": 2, "frames": 12}
ENCODERS = {
    "stgcn": (lambda: STGCN(hidden=2), 8),
    "agcn": (lambda: AGCN(hidden=4), 8),
    "gru": (lambda: GRU(hidden=4, layers=2), 8),
    "gru, bidirectional": (lambda: GRU(hidden=4, layers=2, direction="bidirectional"), 8),
    "hcn": (lambda: HCN(hidden=2, frames=16), 16),
    "mamp": (lambda: Transformer(**TINY), 12),
    "skeleton2vec": (lambda: Transformer(**TINY, patch=3, layer_scale=1e-4, norm_eps=1e-6, init="normal"), 12),
    "ha_cm": (lambda: Transformer(**TINY, patch=3, joints="outer", curvature=1.0), 12),
    "concat_l2": (lambda: ConcatL2(parts={"seq": GRU(hidden=4, layers=1), "image": HCN(hidden=2, frames=16)}), 16),
}


def drawn(make):
    """An encoder in evaluation mode with statistics and scales as after a training, not as they begin."""
    torch.manual_seed(0)
    encoder = make().eval()
    for name, value in (*encoder.named_parameters(), *encoder.named_buffers()):
        if "running_var" in name or ("bn" in name and "weight" in name) or "gamma" in name:
            value.data.uniform_(0.5, 1.5)
    return encoder


@pytest.mark.parametrize("name", ENCODERS)
def test_graphs_have_the_features_of_the_encoder_at_any_batch(name, tmp_path):
    make, frames = ENCODERS[name]
    encoder, shape = drawn(make), (3, frames, 25, 2)
    program = exporting.exported(encoder, shape)
    exporting.write_onnx(program, tmp_path / "e.onnx", {"method": "m", "layout": "ntu25", "stream": "joint"})
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", *shape]
    assert session.get_outputs()[0].shape == ["batch", encoder.dim]
    for batch in (1, 2, 5):
        x = torch.randn(batch, *shape)
        x[-1, ..., 1] = 0  # one person alone
        with torch.no_grad():
            wanted = encoder(x)
            np.testing.assert_allclose(program.module()(x), wanted, rtol=0, atol=2e-6)
        (found,) = session.run(["features"], {"clips": x.numpy()})
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert wanted.std() > 1e-4  # features that say something


def test_absent_persons_have_the_same_features_with_and_without_their_short_cut(monkeypatch):
    encoder, x = drawn(lambda: Transformer(**TINY)).double(), torch.randn(6, 3, 12, 25, 2, dtype=torch.float64)
    x[::2, ..., 1] = 0
    short = encoder(x)
    monkeypatch.setattr(tokens, "EXPORTING", lambda: True)
    torch.testing.assert_close(encoder(x), short, rtol=0, atol=1e-14)


@pytest.fixture(scope="module")
def run(data_root, tmp_path_factory):
    """A run folder with an untrained encoder in it, as far as an export looks."""
    folder = tmp_path_factory.mktemp("run")
    config, encoder = train_config(data_root, "method=mamp"), small()
    config["method"]["encoder"], config["method"]["view"] = encoder.about["encoder"], encoder.about["view"]
    save_encoders({"": encoder}, folder / "encoder", config, "fingerprint")
    return folder


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    return export_encoder(run, tmp_path_factory.mktemp("out") / "export")


def test_an_export_holds_everything(export, run):
    names = {"encoder.safetensors", "config.json", "encoder.pt2", "encoder.onnx", "MODEL_CARD.md"}
    assert {path.name for path in export.iterdir()} == names
    clip = body()
    wanted = skelssl.embed(clip, run)
    np.testing.assert_array_equal(skelssl.embed(clip, export), wanted)
    model = onnx.load(export / "encoder.onnx")
    assert {p.key: p.value for p in model.metadata_props} == {"method": "mamp", "layout": "ntu25", "stream": "joint"}


def test_the_card_says_what_was_measured(export):
    card = (export / "MODEL_CARD.md").read_text("utf-8")
    encoder = skelssl.load_encoder(export)
    graph = exporting.OnnxEncoder(export / "encoder.onnx")
    difference = parity("onnx", encoder, graph, input_shape(encoder)).difference
    assert f"`encoder.onnx`: for onnxruntime. Largest difference from the encoder at batches of 1, 2 and 5: " \
           f"{difference:.1e}" in card  # fmt: skip
    for text in ("Mao et al., ICCV 2023, arXiv 2308.07092.", "(batch, 3, 12, 25, 2)", "| data set | synthetic |",
                 "0 spine_base, 1 spine_mid", '"name": "ctrgcn"', "| data fingerprint | fingerprint |",
                 "synthetic motion made by skelssl itself"):  # fmt: skip
        assert text in card


def test_the_card_lists_the_results_of_these_weights_alone(run, tmp_path):
    import shutil

    from skelssl.core.files import sha256, write_json
    from skelssl.results.record import KEYS

    own = tmp_path / "run"
    shutil.copytree(run, own)
    digest = sha256(own / "encoder" / "encoder.safetensors")
    row = dict.fromkeys(KEYS) | {"protocol": "knn", "dataset": "synthetic", "mode": "paper", "seed": 0, "n_test": 8}
    write_json(own / "eval/knn/a/result.json", row | {"checkpoint_sha256": digest, "top1": 0.625,
                                                      "random_init_top1": 0.25})  # fmt: skip
    write_json(own / "eval/knn/b/result.json", row | {"checkpoint_sha256": "other", "top1": 0.99})
    write_json(own / "run.json", {"epochs": 2, "steps": 9, "seconds": 1.5, "git_commit": "abc",
                                  "versions": {"torch": "2"}})  # fmt: skip
    card = (export_encoder(own, tmp_path / "export", "safetensors") / "MODEL_CARD.md").read_text("utf-8")
    assert "| knn | synthetic | paper |  | 0 | 62.5 | 25.0 | 8 |" in card
    assert "99.0" not in card
    assert "| epochs | 2 of a schedule of None, 9 steps |" in card
    assert "| commit | abc |" in card


def test_an_earlier_export_is_replaced_and_nothing_else(export, run, tmp_path):
    export_encoder(run, tmp_path / "x", "safetensors")
    assert not (tmp_path / "x" / "encoder.onnx").exists()
    export_encoder(run, tmp_path / "x", ["torch"])
    assert (tmp_path / "x" / "encoder.pt2").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"out: found other things in .*mine, expected a new folder"):
        export_encoder(run, tmp_path / "mine", "safetensors")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_stopped_export_leaves_nothing(run, tmp_path, monkeypatch, stop):
    def stopped(*_, **__):
        raise stop

    monkeypatch.setattr(torch.export, "save", stopped)
    with pytest.raises((KeyboardInterrupt, OSError, UserError)):
        export_encoder(run, tmp_path / "x", "torch")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_is_refused(monkeypatch):
    encoder = drawn(lambda: Transformer(**TINY))
    encoder_off = drawn(lambda: Transformer(**TINY))
    encoder_off.norm.bias.data += 2e-3
    with pytest.raises(UserError, match=r"format=torch: found features that differ by 2\.0e-03 at a largest"):
        parity("torch", encoder, encoder_off, (3, 12, 25, 2))
    encoder_off.norm.bias.data += float("nan")
    with pytest.raises(UserError, match=r"format=torch: found features that differ by nan"):
        parity("torch", encoder, encoder_off, (3, 12, 25, 2))


def test_without_the_extra_it_is_one_sentence(run, tmp_path, monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name == "onnxscript":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UserError, match=r"format: found onnx, but no package onnxscript, .* 'skelssl\[export\]'"):
        export_encoder(run, tmp_path / "x", "onnx")
    assert not (tmp_path / "x").exists()
    export_encoder(run, tmp_path / "x", "safetensors")


def test_an_unknown_format_is_one_sentence(run, tmp_path):
    with pytest.raises(UserError, match=r"format: found 'tflite', expected all, or some of safetensors, torch, onnx"):
        export_encoder(run, tmp_path / "x", ["torch", "tflite"])


@pytest.mark.parametrize("method", ["pstl", "mamp", "skeleton2vec", "ha_cm"])
def test_the_shape_is_that_of_the_test_view(method):
    about = foreign_about(method, encoder={"hidden": 8})
    frames = {"pstl": 50, "mamp": 120, "skeleton2vec": 90, "ha_cm": 72}[method]
    assert input_shape(build_encoder(about)) == (3, frames, 25, 2)


def test_examples_have_clips_of_one_person():
    x = examples((3, 4, 25, 2), 3)
    assert [bool(x[n, ..., 1].any()) for n in range(3)] == [False, True, False]


def test_double_precision_leaves_as_single_in_graphs_alone(tmp_path):
    encoder = small().double()
    write_encoder(encoder, tmp_path, ["safetensors", "torch"])
    assert skelssl.load_encoder(tmp_path).norm.bias.dtype == torch.float64
    graph = torch.export.load(tmp_path / "encoder.pt2").module()
    assert graph(torch.zeros(1, 3, 12, 25, 2)).dtype == torch.float32


def test_the_list_has_every_encoder_of_the_package():
    from tests.helpers.frozen import ENCODERS as ALL

    made = {type(make()).__name__ for make, _ in ENCODERS.values()}
    assert made == {*ALL, "ConcatL2"}
