"""The site builds without a warning, and what it makes of the package is all there."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import skelssl
from skelssl.core.compose import config_dir
from skelssl.results.published import published_cells
from tests.helpers.pages import ROOT, pages

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
import api_pages  # noqa: E402
import config_pages  # noqa: E402
import published_tables  # noqa: E402
from site_pages import as_rest  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = ["--fail-on-warning", "--keep-going", "-q", "-d", str(folder / "trees"), str(DOCS), str(folder / "html")]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def reference() -> str:
    return config_pages.page()


def shown(page: Path) -> str:
    """The text of a page without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def test_every_page_is_built_and_in_the_contents(site: Path) -> None:
    index = (site / "index.html").read_text("utf-8")
    for page in pages():
        if page.is_relative_to(DOCS) and page.name != "index.md":
            built = page.relative_to(DOCS).with_suffix(".html")
            assert (site / built).exists(), built
            assert f'href="{built}"' in index, built


def test_equations_are_typeset(site: Path) -> None:
    for method in ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm"):
        page = (site / "papers" / f"{method}.html").read_text("utf-8")
        written = re.findall(r"\$\$.+?\$\$", (DOCS / "papers" / f"{method}.md").read_text("utf-8"), re.DOTALL)
        assert page.count('display="block"') == len(written) > 0, method
        assert not re.search(r"\\(frac|sum|text|operatorname)", shown(site / "papers" / f"{method}.html")), method


def test_published_numbers_are_those_of_the_facts(site: Path) -> None:
    for method in {cell.method for cell in published_cells()}:
        page = (site / "papers" / f"{method}.html").read_text("utf-8")
        rows = [re.findall(r"<td.*?</td>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)]
        found = {tuple(html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row) for row in rows}
        for cell in published_cells():
            told = (cell.dataset, cell.protocol, cell.stream, cell.setting or "", f"{cell.value:.1f}",
                    published_tables.HOW_SURE[cell.status], cell.source)  # fmt: skip
            assert cell.method != method or told in found, cell
    with pytest.raises(ValueError, match="found no cell of 'none'"):
        published_tables.table("none")


def leaves(value: object, prefix: str) -> set[str]:
    """Dotted keys as yaml reads them, by another way than the page's own."""
    if isinstance(value, dict) and value:
        return set().union(*(leaves(inner, f"{prefix}.{key}" if prefix else key) for key, inner in value.items()))
    return {prefix}


@pytest.mark.parametrize("path", sorted(config_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_is_in_the_reference(path: Path, reference: str) -> None:
    own = path.relative_to(config_dir()).with_suffix("").as_posix()
    group, _, name = own.rpartition("/")
    title = f"### `{group}={name}`" if group else f"### `skelssl {name}`"
    section = reference.split(title + "\n")[1].split("\n### ")[0]
    found = set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))
    text = path.read_text("utf-8")
    values = {key: value for key, value in (yaml.safe_load(text) or {}).items() if key != "defaults"}
    package = re.search(r"# @package (\S+)", text)
    prefix = package[1].replace("_global_", "") if package else group
    expected = leaves(values, prefix) - {"", prefix}
    expected = {key for key in expected if not key.startswith("hydra.") or key.startswith(config_pages.OF_HYDRA)}
    merged = {key for key in found if f"`{key}` | `all of" in section}
    for key in expected:  # a flow mapping is one cell, keys of an alias are those of what it names
        assert key in found or any(key.startswith(f"{k}.") for k in found | merged), key
    for key in found - merged:
        assert any(full == key or full.startswith(f"{key}.") for full in expected), key


def test_the_reference_has_defaults_and_comments(reference: str, site: Path) -> None:
    row = "| `method.csm.mask_joint` | `8` | drawn from the degree multiset, so fewer distinct joints are dropped |"
    assert row in reference
    assert r"| `stream` | `joint` | joint \| motion \| bone |" in reference
    assert "chosen on held-out subjects of the training split" in reference  # from the comment's second line
    assert reference == config_pages.page()
    assert "method.csm.mask_joint" in shown(site / "generated" / "configuration.html")


def test_the_api_pages_name_every_public_object(site: Path) -> None:
    top = shown(site / "generated" / "api.html")
    for name in skelssl.__all__:
        assert f"skelssl.{name}" in top
    for module in ("encoders.stgcn.STGCN", "losses.info_nce.InfoNCE", "methods.pstl.PSTL", "views.pstl.PSTLView",
                   "maskers.motion_gumbel.MotionGumbelMask", "protocols.frozen.Frozen"):  # fmt: skip
        folder, _, _ = module.partition(".")
        assert f"skelssl.{module}" in (site / "generated" / f"api_{folder}.html").read_text("utf-8")
    listed = " ".join(api_pages.pages().values())
    assert "skelssl.optim" in listed
    assert "__main__" not in listed


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        links = re.findall(r"""<(?:script|img|link)[^>]*(?:src|href)="(https?://[^"]+)""", page.read_text("utf-8"))
        assert not links, page


def test_sections_of_a_docstring_become_lists() -> None:
    lines = ["One * of |these|.", "", "Args:", "    a: first", "        of all", "    b: ``x * y``", "", "Raises:",
             "    UserError: never", "", "| a | b |", "after"]  # fmt: skip
    assert [line for line in as_rest(lines) if line] == [
        r"One \* of \|these\|.", "**Arguments**", "* a: first", "  of all", "* b: ``x * y``", "**Raises**",
        "* UserError: never", "::", "    | a | b |", "after",
    ]  # fmt: skip
