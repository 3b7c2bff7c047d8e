"""Every choice of every group composes; methods on datasets and the cells of studies do so in ``test_pins.py``."""

import pytest
import torch
from hydra.errors import MissingConfigException

from skelssl.core.compose import config_dir
from skelssl.methods.build import build_method
from tests.helpers.config import compose

NAMES = {group: sorted(p.stem for p in (config_dir() / group).glob("*.yaml")) for group in
         ("method", "dataset", "experiment", "protocol", "debug", "logger", "launcher", "scale")}  # fmt: skip


@pytest.mark.parametrize("method", NAMES["method"])
def test_the_published_size_is_built_and_has_its_blocks(method):
    config = compose("train", f"method={method}")
    assert {"recipe", "view", "encoder", "optim", "loader", "monitor", "probe"} <= config["method"].keys()
    assert {"pretrain", "probe", "test"} <= config["method"]["view"].keys()
    with torch.device("meta"):
        trained = sum(p.numel() for p in build_method(config).parameters() if p.requires_grad)
    published = {"pstl": 821_380 + 77_094_912, "skeleton_contrast": 49_457_280 + 3_552_778, "mamp": 8_789_004}
    published |= {"skeleton2vec": 8_856_576, "ha_cm": 8_780_809}
    assert trained == published[method]


@pytest.mark.parametrize("name", NAMES["experiment"])
def test_every_experiment_is_built(name):
    config = compose("train", f"experiment={name}")
    with torch.device("meta"):
        build_method(config)
    assert not set(config["then"]) - set(NAMES["protocol"])


@pytest.mark.parametrize("scale", NAMES["scale"])
@pytest.mark.parametrize("method", NAMES["method"])
def test_every_method_has_every_scale(method, scale):
    small, published = (compose("train", f"method={method}", *more) for more in ([f"scale={scale}"], []))
    with torch.device("meta"):
        parameters = [sum(p.numel() for p in build_method(c).parameters()) for c in (small, published)]
    assert parameters[0] < parameters[1]
    changed = {key for key in small if small[key] != published[key]}
    assert changed - {"callbacks"} == {"method"}  # the callbacks take the monitor's numbers


def test_a_scale_that_a_method_lacks_is_an_error(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("name: mine")
    with pytest.raises(MissingConfigException, match="Could not find 'scale/method/short_mine'"):
        compose("train", f"hydra.searchpath=[{tmp_path}]", "method=mine", "scale=short")


@pytest.mark.parametrize("name", NAMES["protocol"])
def test_every_protocol_composes(name):
    config = compose("evaluate", f"protocol={name}", "checkpoint=x")
    assert config["protocol"]["name"] == name
    assert config["protocol"]["recipe"]


@pytest.mark.parametrize("name", [*NAMES["debug"]])
def test_every_debug_setting_composes_with_every_command(name):
    for command, needed in (("train", []), ("evaluate", ["checkpoint=x"]), ("prepare", ["dataset=ntu60"])):
        compose(command, *needed, f"debug={name}")


@pytest.mark.parametrize("name", NAMES["launcher"])
def test_every_launcher_composes(name):
    plugin = "joblib" if name == "joblib" else "submitit"
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    assert compose("train", f"launcher={name}") == compose("train")
