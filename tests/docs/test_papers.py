"""Pages of papers: what they call the default is the default, and every other setting they name builds."""

from __future__ import annotations

import re

import pytest
import yaml
from omegaconf import OmegaConf

from skelssl.methods.build import build_method
from tests.helpers.config import compose
from tests.helpers.pages import ROOT

METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec")  # HA-CM's page: tests/methods/test_ha_cm_docs.py
DEFAULT, OTHERWISE = 3, 4  # columns of the table
THERE = {"single persons of NTU-120": "ntu120_xsub", "PKU-MMD": "pku1_xsub", "PKU-MMD checkpoint": "pku1_xsub"}


def rows(method: str) -> list[list[str]]:
    text = (ROOT / "docs" / "papers" / f"{method}.md").read_text("utf-8")
    table = text.split("## Where paper and code disagree")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines[1:]]


def settings(text: str) -> list[str]:
    return re.findall(r"`((?:method|dataset)\.[.\w]+=[^`\s]+)`", text)


def cases() -> list[tuple[str, str, str, str]]:
    """(method, data set, default, other) of every key that a row chooses by."""
    found = []
    for method in METHODS:
        for row in rows(method):
            dataset = THERE.get(row[0], "ntu60_xsub")
            for at, default in enumerate(settings(row[DEFAULT])):
                others = settings(row[OTHERWISE]) + re.findall(r"`([\w.]+)`", row[OTHERWISE])
                same = [o for o in others if o.partition("=")[0] == default.partition("=")[0]]
                bare = [f"{default.partition('=')[0]}={o}" for o in others if "=" not in o] if at == 0 else []
                found.append((method, dataset, default, (same or bare or [""])[0]))
            for other in settings(row[OTHERWISE]):
                if other not in [case[3] for case in found]:
                    found.append((method, dataset, "", other))
    return found


CASES = cases()


def test_the_tables_name_many_settings() -> None:
    assert len(CASES) > 20
    assert sum(bool(other) for *_, other in CASES) > 15


@pytest.mark.parametrize(("method", "dataset", "default", "other"), CASES)
def test_settings(method: str, dataset: str, default: str, other: str) -> None:
    base = [f"method={method}", f"dataset={dataset}"]
    if default:
        key, _, value = default.partition("=")
        found = OmegaConf.select(OmegaConf.create(compose("train", *base)), key)
        assert found == OmegaConf.create({"x": yaml.safe_load(value)}).x, default
    if other:
        assert other != default
        build_method(compose("train", *base, "debug=smoke", other))


def test_seventy_four_tokens() -> None:
    """MAMP's page: 0.9 leaves 74 of 750, 0.899 the tenth."""
    for ratio, visible in ((0.9, 74), (0.899, 75)):
        masking = build_method(compose("train", "method=mamp", f"method.masking.ratio={ratio}")).masking
        assert masking.visible_tokens == visible
