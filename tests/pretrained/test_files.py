import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import skelssl
from skelssl.core.errors import UserError
from skelssl.encoders.stgcn import STGCN
from skelssl.pretrained.files import save_encoders
from skelssl.pretrained.foreign import foreign_about
from skelssl.pretrained.load import build_encoder
from skelssl.pretrained.trust import check_target
from skelssl.skeleton.layout import load_layout
from tests.helpers.config import compose, train_config


@pytest.fixture
def released(tmp_path):
    """A bare ST-GCN state dict, as others publish it, and the network it came from."""
    torch.manual_seed(0)
    encoder = STGCN().eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    torch.save(encoder.state_dict(), tmp_path / "encoder.pt")
    return tmp_path / "encoder.pt", encoder


@pytest.fixture
def x():
    return torch.randn(3, 3, 50, 25, 2, generator=torch.Generator().manual_seed(1))


def test_a_bare_state_dict(released, x):
    path, original = released
    encoder = skelssl.load_encoder(path, source="pstl")
    with torch.no_grad():
        assert torch.equal(encoder(x), original(x))
        assert encoder(x).shape == (3, 256)
        dropped = encoder(x, ignore=[20, 0])
    assert not torch.equal(dropped, encoder(x))
    assert not encoder.training
    assert encoder.recipe["name"] == "aimclr"
    assert encoder.layout.name == "ntu25"
    assert encoder.probe["linear"]["lr"] == 0.01
    assert set(encoder.view) == {"probe", "test"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {**{f"encoder.{k}": v for k, v in s.items()}, "head.weight": torch.ones(2)},
        lambda s: {**s, "fc.weight": torch.ones(60, 256), "fc.bias": torch.ones(60)},
    ],
)
def test_the_wrappings_that_files_come_in(released, x, tmp_path, wrap):
    path, original = released
    torch.save(wrap(torch.load(path)), tmp_path / "wrapped.pt")
    with torch.no_grad():
        assert torch.equal(skelssl.load_encoder(tmp_path / "wrapped.pt", source="pstl")(x), original(x))


def test_double_precision_stays(released, x, tmp_path):
    path, original = released
    state = {k: v.double() if v.is_floating_point() else v for k, v in torch.load(path).items()}
    state["A"] = torch.from_numpy(load_layout("ntu25").adjacency())
    torch.save(state, tmp_path / "double.pt")
    encoder, exact = skelssl.load_encoder(tmp_path / "double.pt", source="pstl"), original.double()
    exact.A.copy_(state["A"])
    with torch.no_grad():
        assert torch.equal(encoder(x), exact(x.double()))


def test_mistakes_with_files(released, tmp_path):
    path, _ = released
    with pytest.raises(UserError, match=r"encoder\.pt: data_bn|: A: found|found shape .* expected shape"):
        skelssl.load_encoder(path, source="pstl", hidden=8)
    with pytest.raises(UserError, match="source: found 'x', expected one of pstl"):
        skelssl.load_encoder(path, source="x")
    with pytest.raises(UserError, match="found no file, expected a checkpoint of pstl"):
        skelssl.load_encoder(tmp_path / "none.pt", source="pstl")
    with pytest.raises(UserError, match="found no encoder there, expected a finished run"):
        skelssl.load_encoder(tmp_path)
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: A: found no such tensor, expected shape \(3, 25, 25\)"):
        skelssl.load_encoder(tmp_path / "other.pt", source="pstl")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match=r"text\.pt: cannot be read as a torch checkpoint"):
        skelssl.load_encoder(tmp_path / "text.pt", source="pstl")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("bomb"),))


def test_a_file_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps({"A": Bomb()}))
    torch.save({"A": Bomb()}, tmp_path / "bomb2.pt")
    for name in ("bomb.pt", "bomb2.pt"):
        with pytest.raises(UserError, match="cannot be read as a torch checkpoint"):
            skelssl.load_encoder(tmp_path / name, source="pstl")
    assert not (tmp_path / "bomb").exists()


def test_own_encoder_round_trip(tmp_path, x):
    config = train_config(tmp_path)
    torch.manual_seed(3)
    encoder = STGCN(hidden=2).eval()
    save_encoders({"": encoder}, tmp_path / "encoder", config, "abc")
    for path in (tmp_path, tmp_path / "encoder", tmp_path / "encoder" / "encoder.safetensors"):
        loaded = skelssl.load_encoder(path)
        with torch.no_grad():
            assert torch.equal(loaded(x), encoder(x))
    assert loaded.about["data_fingerprint"] == "abc"
    assert loaded.about["method"] == "pstl"
    state = {**encoder.state_dict(), "A": torch.ones(2, 2)}
    save_file(state, tmp_path / "encoder" / "encoder.safetensors")
    with pytest.raises(UserError, match=r"A: found shape \(2, 2\), expected shape \(3, 25, 25\)"):
        skelssl.load_encoder(tmp_path)


def test_only_modules_of_trusted_packages_are_built(tmp_path):
    about = foreign_about("pstl")
    bad = {**about, "encoder": {"_target_": "os.system", "command": "touch bomb"}}
    with pytest.raises(UserError, match=r"_target_: found os\.system, expected a module under skelssl or a package"):
        build_encoder(bad)
    with pytest.raises(
        UserError, match=r"_target_: found skelssl\.core\.runs\.git_commit, expected the name of an nn\.Module"
    ):
        check_target({"a": [{"_target_": "skelssl.core.runs.git_commit"}]}, ())
    with pytest.raises(UserError, match=r"found torch\.nn\.Linear"):
        check_target({"_target_": "torch.nn.Linear"}, ())
    check_target({"_target_": "torch.nn.Linear"}, ("torch",))
    with pytest.raises(UserError, match="found the interpolation"):
        build_encoder({**about, "encoder": {**about["encoder"], "layout": "${oc.create:{_target_: os.getcwd}}"}})


@pytest.mark.parametrize("method", ["pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm"])
def test_every_method_of_ours_may_be_built_from_a_run(method):
    check_target(compose("train", f"method={method}")["method"])
