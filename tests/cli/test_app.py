import subprocess
import sys

import hydra
import pytest

from skelssl.core.compose import composed, config_dir
from skelssl.core.overrides import quote_path

PATHS = [
    "a b/c",
    "x(1).zip",
    "a=b",
    "a,b",
    "it's here",
    "{x}",
    "[x",
    "a:b",
    "~/x y",
    "#x",
    "é",
    "x\\",
    "a\\b",
    "a\\'b",
    "True story",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["raw", "checkpoint", "data_root", "name", "html", "hydra.run.dir", "+import"])
def test_any_path_survives_the_parser_of_hydra(key, path):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(quote_path(f"{key}={path}"))
    assert override.value() == path


def test_other_arguments_pass_through():
    for argument in ("method=pstl", "checkpoint=['a,b',c]", "-m", "raw=null", "seeds=[0,1]", "raw='a b'"):
        assert quote_path(argument) == argument


@pytest.mark.parametrize("command", ["train", "evaluate", "prepare", "explore"])
def test_help_names_groups_and_keys(command, tmp_path):
    call = [sys.executable, "-m", f"skelssl.{command}", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"python -m skelssl.{command}" in done.stdout
    assert "pku1_xsub" in done.stdout
    assert "data_root: ${oc.env:SKELSSL_DATA,data}" in done.stdout
    assert "hydra" not in done.stdout


@pytest.mark.parametrize("path", [*PATHS, "a, b", "x,y,z"])
def test_any_path_survives_in_a_list(path, tmp_path, monkeypatch):
    """A comma in a path is only told from one between two paths where the path exists, as every checkpoint does."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    monkeypatch.chdir(tmp_path)
    if "," in path:
        (tmp_path / path).mkdir()
    for paths in ([path, "other"], ["other", path], [path, path]):
        override = OverridesParser.create().parse_override(quote_path(f"checkpoint=[{','.join(paths)}]"))
        assert override.value() == paths


def test_composing_inside_of_a_command() -> None:
    outside = composed("train", ["method=mamp", "dataset=pku2_xsub"])
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):  # as in a command
        assert composed("train", ["method=mamp", "dataset=pku2_xsub"]) == outside
        assert hydra.compose("evaluate", ["checkpoint=x"]).checkpoint == "x"  # which goes on
    assert outside.method.probe.linear.batch == 32
