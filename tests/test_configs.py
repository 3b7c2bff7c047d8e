"""Every configuration composes, and every method x dataset can be built."""

from itertools import product

import pytest

from skelssl.core.compose import config_dir
from skelssl.methods.build import build_method
from skelssl.results.study import cells
from tests.helpers.config import compose

NAMES = {group: sorted(p.stem for p in (config_dir() / group).glob("*.yaml")) for group in
         ("method", "dataset", "experiment", "protocol", "debug", "logger", "launcher", "trainer")}  # fmt: skip


@pytest.mark.parametrize(("method", "dataset"), list(product(NAMES["method"], NAMES["dataset"])))
def test_every_method_on_every_dataset(method, dataset):
    config = compose("train", f"method={method}", f"dataset={dataset}", "debug=smoke")
    assert config["method"]["name"] == method
    assert config["dataset"]["name"] == dataset
    assert build_method(config).optim.epochs == 1


@pytest.mark.parametrize("method", NAMES["method"])
def test_the_published_size_is_built_and_has_its_blocks(method):
    config = compose("train", f"method={method}")
    assert {"recipe", "view", "encoder", "optim", "loader", "monitor", "probe"} <= config["method"].keys()
    assert {"pretrain", "probe", "test"} <= config["method"]["view"].keys()
    trained = sum(p.numel() for p in build_method(config).parameters() if p.requires_grad)
    published = {"pstl": 821_380 + 77_094_912, "skeleton_contrast": 49_457_280 + 3_552_778, "mamp": 8_789_004}
    published |= {"skeleton2vec": 8_856_576, "ha_cm": 8_780_809}
    assert trained == published[method]


@pytest.mark.parametrize("name", NAMES["experiment"])
def test_every_experiment_composes(name):
    config = compose("train", f"experiment={name}")
    build_method(config)
    assert not set(config["then"]) - set(NAMES["protocol"])


SWEEPS = {"benchmark": 30, "mask_ratio_demo": 3, "mask_ratio": 15, "ablation_pstl_spatial": 4,
          "ablation_pstl_temporal": 9, "ablation_pstl_loss": 9, "ablation_skeleton2vec_tube": 7,
          "ablation_skeleton2vec_teacher": 4, "ablation_skeleton2vec_motion": 5, "ablation_skeleton2vec_targets": 6,
          "ablation_ha_cm_parts": 4, "skeleton_contrast_augmentation": 8, "skeleton_contrast_intra": 3,
          "skeleton_contrast_pairs": 3, "skeleton_contrast_published": 6}  # fmt: skip


@pytest.mark.parametrize("name", NAMES["experiment"])
def test_every_cell_of_a_sweep_composes_and_is_another_run(name):
    assert len(cells([f"experiment={name}", "seed=0"])) == SWEEPS.get(name, 1)


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
