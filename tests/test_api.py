"""``skelssl.pretrain`` and ``skelssl.run_protocol`` do what the commands do, in the same folders."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hydra.errors import HydraException

import skelssl
from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.core.identity import run_id
from skelssl.core.overrides import as_overrides
from skelssl.core.runs import load_config
from tests.helpers.config import TINY, train_config


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_the_one_of_the_command(here, data_root, capsys):
    run = skelssl.pretrain("pstl", "synthetic", TINY, debug="smoke", seed=3, data_root=str(data_root))
    config = train_config(data_root, "seed=3")
    assert str(run) == f"outputs/pstl/synthetic/{run_id(config)}"
    assert load_config(run)["seed"] == 3
    before = (run / "run.json").stat().st_mtime_ns
    assert skelssl.pretrain("pstl", overrides=[*TINY, "debug=smoke", "seed=3", f"data_root={data_root}"]) == run
    command = [sys.executable, "-m", "skelssl.train", *TINY, "debug=smoke", "seed=3", f"data_root={data_root}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    for said in (capsys.readouterr().out, done.stdout):
        assert f"{run} is finished; rerun=true trains it again" in said
    assert (run / "run.json").stat().st_mtime_ns == before

    result = skelssl.run_protocol("knn", run, data_root=str(data_root), **{"limit.clips": 2})
    (path,) = run.glob("eval/knn/*/result.json")
    assert result == read_json(path)
    same = skelssl.run_protocol("knn", str(run), ["limit.clips=2", f"data_root={data_root}"])
    assert same == result
    several = skelssl.run_protocols("knn", run, seeds=[0, 1], data_root=str(data_root), **{"limit.clips": 2})
    assert [r["seed"] for r in several] == [0, 1]
    with pytest.raises(UserError, match=r"run_protocol: found 2 results, .* run_protocols returns them all"):
        skelssl.run_protocol("knn", run, seeds=[0, 1], data_root=str(data_root), **{"limit.clips": 2})


def test_a_folder_of_ones_own_and_an_experiment(here, data_root):
    run = skelssl.pretrain(
        overrides=[*TINY, "debug=smoke", f"data_root={data_root}", "hydra.run.dir=my run", "then=[knn]"]
    )
    assert str(run) == "my run"
    assert len(list((here / "my run").glob("eval/knn/*/result.json"))) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: skelssl.pretrain("pstll"), r"method: found 'pstll', expected one of ha_cm"),
        (lambda: skelssl.pretrain(sed=1), r"sed: unknown key \(did you mean seed\?\)"),
        (lambda: skelssl.pretrain("mamp", **{"method.encoder.hiden": 1}), r"method.encoder.hiden: unknown key"),
        (lambda: skelssl.pretrain("mamp", **{"method.encoder.frames": 7}), r"encoder.frames: found 7, expected"),
        (lambda: skelssl.pretrain(dataset="ntu60"), r"dataset: found ntu60, which has no split"),
        (lambda: skelssl.run_protocol("nn", "x"), r"protocol: found 'nn', expected one of cluster"),
        (lambda: skelssl.run_protocol("knn", "no where"), r"checkpoint: found nothing at no where"),
    ],
)
def test_mistakes_are_the_sentences_of_the_command(here, call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["a b", "a,b", "it's", "x=1", "{x}", "true", "null", "1", "", "a/b-c", [1, "b c"], {"k": [None, 0.5]},
              None, True, 1e-5, "ü", "[a]", "a\\"]
)  # fmt: skip
def test_any_value_survives_the_parser_of_hydra(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = as_overrides({"key": value})
    assert OverridesParser.create().parse_override(override).value() == value


def test_the_error_of_origin_is_chained(here):
    with pytest.raises(UserError, match=r"encoder.frames: found 7, expected") as caught:
        skelssl.pretrain("mamp", debug="trace", **{"method.encoder.frames": 7})
    assert isinstance(caught.value.__cause__, HydraException)
    assert str(caught.value) in str(caught.value.__cause__)


def test_importing_the_package_does_not_load_torch():
    code = "import sys, skelssl.data.build.prepare, skelssl.cli.app as e; e.overview(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert {name for name in skelssl.__all__ if getattr(skelssl, name)} == set(skelssl.__all__)
