"""Labelled subsets: they never change, and hold what was asked for."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from skelssl.cli.prepare import prepare_command
from skelssl.core.errors import UserError
from skelssl.core.files import read_json, write_json
from skelssl.data.ntu.source import parse_name
from skelssl.data.report import Report
from skelssl.data.source import all_splits
from skelssl.data.split import ClipTable, write_splits
from skelssl.data.synthetic import Synthetic
from skelssl.protocols.subsets import draw_subset, smallest_ratio, write_subset_lists
from tests.helpers.config import compose
from tests.helpers.ranks import run_ranks


def clips(*counts: int) -> tuple[list[str], list[int]]:
    """Names like NTU's and labels: ``counts[c]`` clips of class c."""
    pairs = [(f"S001C001P{i:03d}R001A{c + 1:03d}", c) for c, n in enumerate(counts) for i in range(n)]
    return [name for name, _ in pairs], [label for _, label in pairs]


GOLDEN = {
    ("stratified", 0): ["S001C001P000R001A001", "S001C001P001R001A002", "S001C001P003R001A001"],
    ("stratified", 1): ["S001C001P001R001A001", "S001C001P004R001A002", "S001C001P007R001A001"],
    ("uniform", 0): ["S001C001P000R001A001", "S001C001P001R001A002", "S001C001P003R001A001"],
    ("uniform", 2): ["S001C001P000R001A002", "S001C001P004R001A002", "S001C001P008R001A001"],
}


@pytest.mark.parametrize(("select", "seed"), GOLDEN)
def test_the_draw_never_changes(select: str, seed: int) -> None:
    names, labels = clips(9, 6)
    assert draw_subset(names, labels, 0.2, seed, select) == GOLDEN[select, seed]


def test_a_large_draw_never_changes() -> None:
    """The size of NTU-60 X-Sub: 60 classes, 40,091 clips."""
    names, labels = clips(*[668] * 59, 679)
    digests = {
        select: hashlib.sha256("\n".join(draw_subset(names, labels, 0.05, 0, select)).encode()).hexdigest()[:16]
        for select in ("stratified", "uniform")
    }
    assert digests == {"stratified": "ff0318bc1dc45b2f", "uniform": "1d1af8992ff5df53"}


@pytest.mark.parametrize(
    ("total", "ratio", "count"), [(40_091, 0.01, 400), (40_091, 0.1, 4_009), (37_646, 0.01, 376), (37_646, 0.1, 3_764)]
)
def test_the_published_counts_of_ntu60(total: int, ratio: float, count: int) -> None:
    names = [str(i) for i in range(total)]
    first, second = (draw_subset(names, [0] * total, ratio, seed, "uniform") for seed in (0, 1))
    assert len(first) == len(second) == count
    assert first != second


def test_halves_of_a_class_go_to_the_even_number() -> None:
    """round(0.1 · n): 2.5 -> 2, 3.5 -> 4, 1.5 -> 2, 2.6 -> 3."""
    names, labels = clips(25, 35, 15, 26)
    drawn = draw_subset(names, labels, 0.1, 0)
    assert [sum(name.endswith(f"A{c:03d}") for name in drawn) for c in (1, 2, 3, 4)] == [2, 4, 2, 3]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    select=st.sampled_from(["stratified", "uniform"]),
    seed=st.integers(0, 2**31),
    order=st.randoms(use_true_random=False),
)
def test_every_draw(counts: list[int], select: str, seed: int, order: object) -> None:
    """Sorted and distinct, the same in any order of the clips, part of every larger draw, and no class left out."""
    names, labels = clips(*counts)
    least = smallest_ratio(names, labels, seed, select)
    drawn = draw_subset(names, labels, least, seed, select)
    assert drawn == sorted(set(drawn))
    assert {dict(zip(names, labels, strict=True))[name] for name in drawn} == set(labels)
    pairs = list(zip(names, labels, strict=True))
    order.shuffle(pairs)  # type: ignore[attr-defined]
    assert draw_subset([n for n, _ in pairs], [c for _, c in pairs], least, seed, select) == drawn
    assert set(drawn) <= set(draw_subset(names, labels, (1 + least) / 2, seed, select))
    assert draw_subset(names, labels, 1, seed, select) == sorted(names)


def test_the_smallest_ratio_is_the_smallest() -> None:
    names, labels = clips(2, 9, 30)
    assert smallest_ratio(names, labels, 0) == 0.2501  # round(0.5) is 0
    for select in ("stratified", "uniform"):
        least = smallest_ratio(names, labels, 5, select)
        draw_subset(names, labels, least, 5, select)
        with pytest.raises(UserError, match="which leaves"):
            draw_subset(names, labels, least - 1e-4, 5, select)


def test_every_clip_is_drawn_equally_often() -> None:
    """20 clips, a quarter drawn, 2,000 seeds: each clip about 500 times, with a standard deviation of 19.4."""
    names, labels = clips(20)
    counts = dict.fromkeys(names, 0)
    for seed in range(2_000):
        for name in draw_subset(names, labels, 0.25, seed):
            counts[name] += 1
    seen = np.array(list(counts.values()))
    assert seen.sum() == 10_000
    assert abs(seen - 500).max() < 4 * 19.4


def test_mistakes() -> None:
    names, labels = clips(10, 40)
    sentence = (
        r"ratio: found 0.04, which leaves 1 of 2 classes without a clip \(the first has label 0\), expected at least"
    )
    with pytest.raises(UserError, match=rf"{sentence} 0.0501 with select=stratified and seed 0"):
        draw_subset(names, labels, 0.04, 0)
    with pytest.raises(UserError, match=r"with select=uniform and seed 0, or another seed, or select=stratified"):
        draw_subset(names, labels, 0.02, 0, "uniform")
    for ratio in (0, -0.1, 1.1, float("nan"), "x", True, None):
        with pytest.raises(UserError, match=r"ratio: found .*, expected a number above 0 and up to 1, or smallest"):
            draw_subset(names, labels, ratio, 0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="select: found 'fair', expected one of stratified, uniform"):
        draw_subset(names, labels, 0.5, 0, "fair")


def _on_a_rank() -> list[str]:
    return draw_subset(*clips(9, 6), 0.2, 0, "uniform")


def test_every_rank_and_every_process_draws_alike() -> None:
    expected = GOLDEN["uniform", 0]
    assert run_ranks(_on_a_rank, 2) == [expected, expected]
    code = "from tests.protocols.test_subsets import _on_a_rank as f; print(','.join(f()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip().split(",") == expected


# --- shipped: what others need to draw the same clips


DOCUMENT = Path(__file__).parents[2] / "docs" / "subsets.md"


def documented() -> Callable[..., list[str]]:
    """The draw that the document prints, which needs nothing of ours."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    function: Callable[..., list[str]] = namespace["draw"]
    return function


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    """The names, labels and splits of the synthetic set, without a body."""
    source = Synthetic()
    names = [entry.name for entry in source.entries([], Report(source.dataset))]
    facts = [parse_name(name) for name in names]
    columns = {key: np.array([f[key] for f in facts]) for key in ("subject", "camera", "setup", "replication")}
    label = [f["action"] - 1 for f in facts]
    table = ClipTable(names, np.array(label), columns)
    write_splits(all_splits(source, table), tmp_path / "splits")
    write_json(tmp_path / "parsed" / "meta.json", {"dataset": source.dataset})
    write_json(tmp_path / "parsed" / "index.json", {"name": names, "label": label})
    return tmp_path


@pytest.mark.parametrize("select", ["stratified", "uniform"])
def test_the_document_draws_what_we_draw(select: str) -> None:
    names, labels = clips(37, 60, 12)
    theirs = documented()(dict(zip(names, labels, strict=True)), 0.3, 5, stratified=select == "stratified")
    assert theirs == draw_subset(names, labels, 0.3, 5, select)


def test_the_lists_of_a_data_set_and_their_documented_checksums(synthetic: Path) -> None:
    index = write_subset_lists(synthetic, [0.1, 0.5])
    assert read_json(synthetic / "subsets" / "index.json") == {"dataset": "synthetic", "lists": index}
    assert len(index) == 2 * 2 * 2 * 5
    label = {name: int(name[-3:]) for name in read_json(synthetic / "splits" / "xsub.json")["train"]}
    rows = []
    for one in index:
        file = synthetic / "subsets" / "{split}_{select}_{ratio:g}_{seed}.txt".format(**one)
        if one["error"]:
            assert "without a clip" in one["error"]
            assert not file.exists()
            continue
        assert hashlib.sha256(file.read_bytes()).hexdigest() == one["sha256"]
        names = file.read_text().splitlines()
        assert len(names) == one["n"]
        if one["split"] == "xsub":
            assert names == documented()(label, one["ratio"], one["seed"], stratified=one["select"] == "stratified")
            rows.append("| {split} | {select} | {ratio:g} | {seed} | {n} | `{sha256}` |".format(**one))
    written = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| xsub")]
    assert written == rows


def test_the_command_needs_no_raw_files(synthetic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = synthetic / "root" / "ntu60" / "v1"
    folder.mkdir(parents=True)
    for part in ("parsed", "splits"):
        (synthetic / part).rename(folder / part)
    root = f"data_root='{synthetic / 'root'}'"
    prepare_command(OmegaConf.create(compose("prepare", "dataset=ntu60", "subsets=[0.1]", root)))
    index = read_json(folder / "subsets" / "index.json")["lists"]
    drawn = len(list((folder / "subsets").glob("*.txt")))
    assert 10 <= drawn == sum(one["error"] is None for one in index)
    assert f"{drawn} labelled subsets; {20 - drawn} draws that leave out a class -> " in capsys.readouterr().out
    with pytest.raises(UserError, match="ratio: found 2, expected a number above 0 and up to 1"):
        prepare_command(OmegaConf.create(compose("prepare", "dataset=ntu60", "subsets=[2]", root)))
