"""docs/papers/ha_cm.md: every setting it names exists, and what it calls the default is the default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from skelssl.methods.build import build_method
from tests.helpers.config import compose

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "papers" / "ha_cm.md"
TEXT = PAGE.read_text("utf-8")
DEFAULT, OTHERWISE = 3, 4  # columns of the table


def settings(text: str) -> list[str]:
    return re.findall(r"`((?:method|dataset|experiment)[.\w]*=[^`\s]+)`", text)


def rows() -> list[list[str]]:
    table = TEXT.split("## Where paper and code disagree")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:2] == "| "][
        1:
    ]


def test_defaults_are_the_defaults() -> None:
    config = OmegaConf.create(compose("train", "method=ha_cm"))
    named = [setting for row in rows() for setting in settings(row[DEFAULT])]
    assert len(named) >= 9
    for setting in named:
        key, _, value = setting.partition("=")
        assert OmegaConf.select(config, key) == yaml.safe_load(value), setting


def others() -> list[str]:
    """Settings the page names, the values that stand alone in its last column among them."""
    found = set(settings(TEXT))
    for row in rows():
        keys = [setting.partition("=")[0] for setting in settings(row[DEFAULT])]
        alone = re.findall(r"`([\w\[\],.]+)`", row[OTHERWISE])
        found |= {f"{keys[0]}={value}" for value in alone}
    return sorted(found)


@pytest.mark.parametrize("setting", others())
def test_every_setting_builds(setting: str) -> None:
    method = [] if setting.startswith("experiment=") else ["method=ha_cm"]
    beside = ["method.masking.curvature=1.0"] if setting == "method.encoder.curvature=null" else []
    build_method(compose("train", *method, "debug=smoke", setting, *beside))


def test_files_and_links_are_there() -> None:
    for link in re.findall(r"\]\((\.\./[^)]+)\)", TEXT):
        assert (PAGE.parent / link).resolve().is_file(), link
    for name in re.findall(r"`((?:\w+/)*\w+\.py)`", TEXT):
        assert (ROOT / "src" / "skelssl" / name).is_file(), name
    assert "docs/papers/ha_cm.md" in (ROOT / "README.md").read_text("utf-8")
