"""From raw files to batches: what each stage costs, on a folder or zip of ``.skeleton`` files replicated to a set.

``python -m benchmarks.data_path FOLDER_OR_ZIP --files 4000 --out data.json``

Stages: parsing (MB/s a core), each recipe (ms a clip; ``agcn`` beside the usual loop form), reading clips from the map
(us a clip), a whole DataModule (clips/s), and the peak memory of preparing sets of two sizes, each in a process of its
own. The copies have names of their own, so nothing is cached between them but the disk's pages.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.naive.agcn_loop import agcn_loop
from skelssl.data.build.prepare import build_parsed
from skelssl.data.ntu.source import NTU, parse_name
from skelssl.data.parsed import ParsedStore
from skelssl.data.recipes import RECIPES, RecipeConfig
from skelssl.data.roots import read_bytes, scan
from skelssl.data.store import open_store

NTU60 = {"bytes": 13e9, "of_bytes": "12 to 15 GB of text, an estimate"}
NTU120 = {"bytes": 27.5e9, "of_bytes": "25 to 30 GB of text, an estimate"}
LOOP_CLIPS = 10
READS = 2000


def replicate(root: Path, folder: Path, count: int) -> int:
    """``count`` files with names of their own under ``folder``; returns their bytes."""
    sources, total, copy = list(scan([root], ".skeleton")), 0, 0
    folder.mkdir()
    while True:
        for entry in sources:
            if copy == count:
                return total
            name, text = parse_name(entry.name), read_bytes(entry)
            serial = copy // len(sources) * 20 + name["replication"]
            stem = "S{setup:03}C{camera:03}P{subject:03}R{serial:03}A{action:03}".format(**name, serial=serial)
            (folder / f"{stem}.skeleton").write_bytes(text)
            total, copy = total + len(text), copy + 1


def prepare(raw: str, root: str) -> float:
    """Parses ``raw`` under ``root`` on one core; returns the seconds."""
    start = time.perf_counter()
    source = NTU("ntu60", skip_incomplete=False)
    build_parsed(source, [Path(raw)], Path(root) / "parsed", workers=1, strict=False, progress=False)
    return time.perf_counter() - start


def derive(root: str, name: str) -> float:
    """Derives a recipe store of the parsed set under ``root``; returns the seconds."""
    start = time.perf_counter()
    open_store(Path(root) / "parsed", RecipeConfig(name))
    return time.perf_counter() - start


def _child(pipe: Any, work: Callable[..., float], arguments: Sequence[str]) -> None:
    sys.stdout = sys.stderr  # standard output carries the table alone
    seconds = work(*arguments)
    pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def alone(work: Callable[..., float], *arguments: str) -> tuple[float, float]:
    """Runs ``work`` in a process of its own: its seconds and its peak memory in MB."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_child, args=(theirs, work, arguments))
    process.start()
    result: tuple[float, float] = ours.recv()
    process.join()
    return result


def recipes(root: Path) -> dict[str, float]:
    """Milliseconds a clip of each recipe on parsed clips in memory, and of ``agcn`` in the loop form."""
    store = ParsedStore(root / "parsed")
    clips = [store.clip(i) for i in np.linspace(0, len(store) - 1, 300).astype(int)]
    cost = {}
    for name in RECIPES:
        recipe = RecipeConfig(name).build()
        cost[name] = _median_ms(lambda clip, r=recipe: r.normalise(r.select(clip)), clips)
    agcn = RecipeConfig("agcn").build()
    cost["agcn, 300 frames"] = _median_ms(agcn.published, clips)
    selected = [x for clip in clips if (x := agcn.select(clip)).sum((2, 3))[0, 0] != 0][:LOOP_CLIPS]
    for x in selected:
        np.testing.assert_allclose(agcn_loop(x)[: len(x)], agcn.normalise(x), atol=2e-5)
    cost["agcn, loop form"] = _median_ms(agcn_loop, selected)
    return cost


def _median_ms(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    times = []
    for item in items:
        start = time.perf_counter()
        work(item)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def loading(root: Path, name: str) -> dict[str, float]:
    """Reading whole clips from the map at random, and the training loader in shuffled batches of 128."""
    from skelssl.data.loader import TrainLoader

    store = open_store(root / "parsed", RecipeConfig(name))
    rows = np.random.default_rng(0).integers(0, len(store), READS)
    single = _median_ms(lambda i: store.x[store.offsets[i] : store.offsets[i + 1]].copy(), rows)
    loader = TrainLoader(store, np.arange(len(store)), batch=128, seed=0)
    rates = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        start = time.perf_counter()
        clips = sum(len(batch.frames) for batch in loader)
        rates.append(clips / (time.perf_counter() - start))
    return {"us_a_clip": 1e3 * single, "clips_a_second": statistics.median(rates)}


def measure(raw: Path, files: int, folder: Path) -> dict[str, Any]:
    size = replicate(raw, folder / "raw", files)
    few = folder / "few"
    replicate(raw, few, files // 4)
    seconds, peak = alone(prepare, str(folder / "raw"), str(folder / "store"))
    _, peak_few = alone(prepare, str(few), str(folder / "store_few"))
    facts: dict[str, Any] = {
        "files": files, "MB": size / 1e6, "prepare_MB_a_second": size / 1e6 / seconds,
        "prepare_peak_MB": {files // 4: peak_few, files: peak},
        "recipe_ms": recipes(folder / "store"),
    }  # fmt: skip
    facts["derive"] = {}
    for name in RECIPES:
        seconds, peak = alone(derive, str(folder / "store"), name)
        facts["derive"][name] = {"ms_a_clip": 1e3 * seconds / files, "peak_MB": peak}
    facts["loading"] = {name: loading(folder / "store", name) for name in ("aimclr", "agcn")}
    return facts


def show(facts: dict[str, Any]) -> None:
    speed = facts["prepare_MB_a_second"]
    print(f"{facts['files']} files, {facts['MB']:.0f} MB of text")
    print(f"prepare (read, parse, examine, write), one core: {speed:.0f} MB/s")
    print("peak memory of prepare: " + ", ".join(f"{n} files {m:.0f} MB" for n, m in facts["prepare_peak_MB"].items()))
    for name, ms in facts["recipe_ms"].items():
        print(f"recipe {name:16} {ms:8.2f} ms a clip")
    for name, cost in facts["derive"].items():
        print(f"derive {name:16} {cost['ms_a_clip']:8.2f} ms a clip with reading and writing, {cost['peak_MB']:.0f} MB")
    for name, cost in facts["loading"].items():
        print(f"load {name}: {cost['us_a_clip']:.0f} us a clip from the map, {cost['clips_a_second']:.0f} clips/s")
    for title, full in (("NTU-60", NTU60), ("NTU-120", NTU120)):
        parse = full["bytes"] / 1e6 / speed / 60
        # By the megabyte, since clips of another set have another length.
        slowest = max(cost["ms_a_clip"] for cost in facts["derive"].values()) * facts["files"] / facts["MB"]
        longest = slowest * full["bytes"] / 1e6 / 6e4
        print(f"extrapolated to {title} ({full['of_bytes']}): parse {parse:.1f} min, slowest recipe {longest:.1f} min")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facts = measure(options.raw, options.files, Path(folder))
    show(facts)
    if options.out:
        options.out.write_text(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
