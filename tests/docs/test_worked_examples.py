"""The tutorial and the pages on adding things, done as they say: files off the page, commands in their order."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from skelssl.pretrained.features import Features
from tests.helpers.pages import ROOT, blocks, commands, run, write_files

DOCS = ROOT / "docs"
TINY = ["dataset.source.classes=4", "dataset.source.subjects=4"]
LONGEST = 60  # lines of a new method, its configuration among them


def ours(page: Path) -> list[list[str]]:
    """The commands of a page that take seconds: no installation, no real recordings."""
    return [words for words in commands(page) if words[0] == "python" and "dataset=ntu60_xsub" not in words]


def smaller(words: list[str]) -> list[str]:
    """The same command in seconds."""
    command = words[2].removeprefix("skelssl.")
    small = ["debug=smoke"] if command in ("train", "evaluate") and "debug=smoke" not in words else []
    synthetic = not any(word.startswith("dataset=") and word != "dataset=synthetic" for word in words)
    return [*words, *small, *(TINY if synthetic and command in ("train", "prepare", "explore") else [])]


def load(file: Path) -> ModuleType:
    """A module that is not on the path."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(folder: Path) -> dict[tuple[str, str], list[dict]]:
    """(method, protocol) -> results."""
    found: dict[tuple[str, str], list[dict]] = {}
    for path in sorted(folder.rglob("result.json")):
        result = json.loads(path.read_text())
        found.setdefault((result["method"], result["protocol"]), []).append(result)
    return found


def test_the_tutorial(tmp_path: Path) -> None:
    page = DOCS / "tutorial.md"
    # The tiny settings of debug=smoke stand after the page's own, whose sizes are for more frames than two heads need.
    session = [smaller(words) for words in ours(page)]
    assert [words[2] for words in session].count("skelssl.train") == 2
    (python,) = [block.text for block in blocks(page) if block.language == "python"]
    (tmp_path / "take_away.py").write_text(python)
    printed = run([*session, ["python", "take_away.py"]], tmp_path)
    done = results(tmp_path / "outputs")
    assert {
        ("pstl", "linear"),
        ("pstl", "knn"),
        ("pstl", "retrieval"),
        ("mamp", "linear"),
        ("mamp", "knn"),
    } <= done.keys()
    assert len(done["pstl", "linear"]) == 4  # in then, and three seeds
    assert {result["seed"] for result in done["mamp", "linear"]} == {0, 1, 2}
    assert "of 48 in the complete dataset" in printed
    for name in ("data.html", "clip.html", "report.html"):
        assert (tmp_path / name).read_text().startswith("<!")


def test_a_new_method_in_less_than_sixty_lines(tmp_path: Path) -> None:
    page = DOCS / "add_method.md"
    names = write_files(page, tmp_path)
    lines = [line for name in names for line in (tmp_path / name).read_text().splitlines()]
    assert 0 < len(lines) < LONGEST
    assert f"{len(lines)} lines in three files" in page.read_text("utf-8")
    run([smaller(words) for words in ours(page)], tmp_path)
    (result,) = results(tmp_path / "run")["simclr", "knn"]
    assert result["random_init_top1"] is not None
    assert result["n_test"] > 0
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        loss = next(float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss"))
    chance = math.log(15)  # 8 clips are 16 views; before it has learnt, each of 15 others is as likely
    assert loss == pytest.approx(chance, abs=0.3)


def test_the_new_method_is_right(tmp_path: Path) -> None:
    """NT-Xent against a loop over the views."""
    write_files(DOCS / "add_method.md", tmp_path)
    method_class = load(tmp_path / "simclr.py").SimCLR
    encoder = torch.nn.Identity()
    encoder.dim = 5
    optim = {"name": "adamw", "lr": 1e-3, "epochs": 2}
    parts = {"encoder": encoder, "head": lambda in_dim: torch.nn.Identity(), "optim": optim, "temperature": 0.1}
    views = iter(torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)))
    both = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)).flatten(0, 1)
    seen = SimpleNamespace()
    method = method_class(view={"pretrain": lambda batch, generator: next(views), "test": None}, seed=0, **parts)
    method.generator, method.log_losses = lambda scope: None, lambda batch, **losses: vars(seen).update(losses)
    unit = [x / x.norm() for x in both]
    terms = []
    for i, x in enumerate(unit):
        weight = [math.exp(float(x @ y) / 0.1) for y in unit]
        terms.append(-math.log(weight[(i + 4) % 8] / (sum(weight) - weight[i])))
    assert float(method.training_step(None, 0)) == pytest.approx(sum(terms) / 8, rel=1e-5)
    assert float(seen.loss) == pytest.approx(sum(terms) / 8, rel=1e-5)


def test_a_new_dataset(tmp_path: Path) -> None:
    page = DOCS / "add_dataset.md"
    write_files(page, tmp_path)
    printed = run([smaller(words) if words[1] == "-m" else words for words in ours(page)], tmp_path)
    assert "sound" in printed
    report = json.loads((tmp_path / "data" / "csv" / "v1" / "report.json").read_text())
    assert report["splits"]["xsub"] == {"train": 12, "test": 12}
    assert results(tmp_path / "run").keys() == {("pstl", "knn"), ("pstl", "linear")}


def test_a_bad_file_of_the_new_dataset_is_reported(tmp_path: Path) -> None:
    page = DOCS / "add_dataset.md"
    write_files(page, tmp_path)
    make, prepare, *_ = ours(page)
    run([make], tmp_path)
    (tmp_path / "clips" / "walk-1-0.csv").write_text("1,2,3\n")
    (tmp_path / "clips" / "jump-1-0.csv").write_text("1,2,3\n")
    run([prepare], tmp_path)
    report = json.loads((tmp_path / "data" / "csv" / "v1" / "report.json").read_text())
    assert {(entry["name"], entry["code"]) for entry in report["skipped"]} == {("walk-1-0", "D24"), ("jump-1-0", "D21")}


def test_a_new_protocol(tmp_path: Path) -> None:
    page = DOCS / "add_protocol.md"
    write_files(page, tmp_path)
    run([smaller(words) for words in ours(page)], tmp_path)
    found = results(tmp_path / "run")["pstl", "nearest_mean"]
    assert {result["seed"] for result in found} == {0, 1}
    assert found[0]["recipe"] == {"distance": "cosine"}


def test_the_new_protocol_is_right(tmp_path: Path) -> None:
    """Against a loop."""
    write_files(DOCS / "add_protocol.md", tmp_path)
    module = load(tmp_path / "nearest_mean.py")
    dice = torch.Generator().manual_seed(0)
    label = torch.tensor([0, 0, 1, 1, 1, 3])
    sides = {part: Features(torch.randn(6, 2, 5, generator=dice), label, torch.arange(6)) for part in ("train", "test")}
    frozen = SimpleNamespace(features=lambda part, view: sides[part], data=SimpleNamespace(classes=4))
    scores = module.nearest_mean(frozen, {}, 0)
    unit = [x / x.norm() for x in sides["train"].x.mean(1)]
    for query, found in zip(sides["test"].x.mean(1), scores.logits, strict=True):
        for c in (0, 1, 3):
            mean = sum(x for x, own in zip(unit, label, strict=True) if own == c)
            assert found[c] == pytest.approx(float(query @ mean / query.norm() / mean.norm()), abs=1e-6)
        assert found[2] == 0
