"""The workspace as code, built without a network: the real package, and what a real run logs."""

import re
import socket
import subprocess
import sys

import pytest

from skelssl.cli import dashboard
from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.training.callbacks.metrics import read_rows
from skelssl.training.loop import train
from tests.helpers.config import train_config

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")


@pytest.fixture
def no_network(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "create_connection", refused)


@pytest.fixture
def definition(no_network, tmp_path):
    dashboard.dashboard_command(["me", "--project", "mine", "--json", str(tmp_path / "d.json")])
    return read_json(tmp_path / "d.json")


def panels(definition):
    for section in definition["spec"]["section"]["panelBankConfig"]["sections"]:
        yield from section["panels"]


def test_whose_it_is_and_how_runs_are_grouped(definition):
    assert (definition["entity"], definition["project"]) == ("me", "mine")
    (runs,) = definition["spec"]["section"]["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "group"}]  # the name that W&B's run has the study under


def test_every_section_has_its_charts(definition):
    sections = definition["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [*dashboard.CHARTS, "Settings"]
    for section in sections[:-1]:
        titles = [p["config"]["chartTitle"] for p in section["panels"] if "chartTitle" in p["config"]]
        assert [*dashboard.CHARTS[section["name"]]] == [t for t in titles if t not in ("masks", "embedding")]


def test_charts_and_figures_of_a_run_are_the_same_set(definition, data_root, tmp_path):
    """No chart stays empty and no figure of a run goes unseen; an evaluation adds its own."""
    train(train_config(data_root), tmp_path)
    logged = {k for row in read_rows(tmp_path / "metrics.csv") for k in row} - {"epoch", "step"} | {"eval/knn/top1"}
    seen = set()
    for config in (panel["config"] for panel in panels(definition) if panel["viewType"] == "Run History Line Plot"):
        rule = config.get("metricRegex")
        shown = {k for k in logged if re.search(rule, k)} if rule else set(config["metrics"])
        assert shown, config["chartTitle"]
        assert config["xAxis"] == "trainer/global_step"
        seen |= shown
    assert seen == logged


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(UserError, match=r"expected pip install 'skelssl\[dashboards\]'"):
        dashboard.workspace("me", "mine")


def test_what_wandb_does_not_take_is_one_sentence(monkeypatch, no_network):
    made = dashboard.workspace("me", "mine")
    monkeypatch.setattr(type(made), "save", lambda self: (_ for _ in ()).throw(ValueError("no such\nproject")))
    with pytest.raises(UserError, match=r"did not take it for me/mine \(no such project\), expected its network"):
        dashboard._save(made)


def test_a_wrong_call_ends_with_2():
    done = subprocess.run([sys.executable, "-m", "skelssl.cli.dashboard"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: dashboard: the following arguments are required: ENTITY, expected ENTITY")
