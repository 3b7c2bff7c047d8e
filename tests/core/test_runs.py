import pytest

from skelssl.core.errors import UserError
from skelssl.core.identity import identity, run_id
from skelssl.core.runs import check_same_run, load_config, run_folder, write_config
from tests.helpers.config import train_config


@pytest.fixture
def config(tmp_path):
    return train_config(tmp_path)


def test_machine_keys_do_not_make_another_run(config, tmp_path):
    same = train_config(
        tmp_path / "elsewhere", "logger=wandb", "trainer.accelerator=cpu", "trainer.devices=1",
        "method.loader.prefetch=9", "then=[knn]", "callbacks.probe=null",
    )  # fmt: skip
    assert run_id(same) == run_id(config)


@pytest.mark.parametrize(
    "override", ["seed=1", "stream=bone", "method.optim.lr=1", "precision=bf16", "dataset=synthetic_xview"]
)
def test_every_other_key_does(config, tmp_path, override):
    assert run_id(train_config(tmp_path, override)) != run_id(config)


def test_folder(config, tmp_path):
    assert run_folder(config).parts[:3] == ("outputs", "pstl", "synthetic")
    assert run_folder(config).name == run_id(config)
    assert run_folder(config, str(tmp_path)) == tmp_path


def test_a_folder_keeps_its_configuration(config, tmp_path):
    write_config(tmp_path / "run", config)
    assert identity(load_config(tmp_path / "run")) == identity(config)
    check_same_run(tmp_path / "run", config)
    other = train_config(tmp_path, "method.optim.lr=0.5", "seed=3")
    with pytest.raises(
        UserError, match=r"another configuration \(method\.optim\.lr: found 0\.005, expected 0\.5; seed"
    ):
        check_same_run(tmp_path / "run", other)


def test_no_run_there(tmp_path):
    with pytest.raises(UserError, match=r"found no config\.yaml, expected a run folder"):
        load_config(tmp_path)
