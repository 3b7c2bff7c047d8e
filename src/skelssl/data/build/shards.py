"""Parse raw files in a process pool. A shard is several hundred files; its output file also marks it as completed.

This module and its imports do not load torch, so that worker processes start quickly.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file
from skelssl.data.build.checks import examined
from skelssl.data.clip import RawClip
from skelssl.data.parsed import FORMAT, ClipIndex, pack
from skelssl.data.source import BadInput, Entry, Skipped, Source

SHARD_BYTES = 128_000_000  # of raw text, about 500 files of NTU RGB+D; a recording of PKU-MMD is thirty times as large


def inputs_key(source: Source, entries: Sequence[Entry]) -> str:
    """Return a hash of the raw files that determines the parsed arrays; moving the files does not change it."""
    what = [[e.name, e.size, e.stamp, e.location if source.generated else ""] for e in entries]
    how = getattr(source, "salvage", False)  # an option of the reader that changes its result for the same bytes
    parts = [FORMAT, source.dataset, source.layout, source.form, how, what]
    text = json.dumps([*parts, "xyc"] if source.arguments.get("coordinates") == "xyc" else parts)
    return hashlib.sha256(text.encode()).hexdigest()


def plan(source: Source, entries: Sequence[Entry], folder: Path, size: int) -> dict[Path, Sequence[Entry]]:
    """Return the shard files in the order of their clips, each with its raw files, on which its name depends.

    A shard holds at most ``size`` files, and no more bytes than a worker can hold in memory at once.
    """
    cuts, room = list[list[Entry]](), 0
    for entry in entries:
        if not cuts or len(cuts[-1]) == size or entry.size > room:
            cuts.append([])
            room = SHARD_BYTES
        cuts[-1].append(entry)
        room -= entry.size
    return {folder / f"{inputs_key(source, cut)}.npz": cut for cut in cuts}


def parse_shards(source: Source, shards: Mapping[Path, Sequence[Entry]], workers: int) -> Iterator[int]:
    """Write the missing shard files; yield the number of raw files of each when it is completed."""
    if workers <= 1:
        yield from (parse_shard(source, cut, path) for path, cut in shards.items())
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_die_with_parent) as pool:
        try:
            jobs = [pool.submit(parse_shard, source, cut, path) for path, cut in shards.items()]
            yield from (job.result() for job in as_completed(jobs))
        except BrokenProcessPool as error:
            raise UserError("workers: one was killed, possibly for lack of memory; run again to resume") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """End this worker when its parent is killed; otherwise it would wait for work forever."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def parse_shard(source: Source, entries: Sequence[Entry], path: Path) -> int:
    """Write the clips of some files and the reasons for skipped ones; return the number of files."""
    if not path.exists():
        index, clips = ClipIndex(), list[RawClip]()
        for entry in entries:
            for found in _read(source, entry):
                if isinstance(found, Skipped):
                    index.skipped.append([found.name, found.code, found.reason])
                else:
                    index.add(found)
                    clips.append(found)
        arrays = pack(clips) if clips else {}
        about = np.frombuffer(json.dumps(asdict(index)).encode(), np.uint8)
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, about=about, **arrays)
    return len(entries)


def _read(source: Source, entry: Entry) -> Iterator[RawClip | Skipped]:
    try:
        for found in source.read(entry):
            try:
                yield examined(found) if isinstance(found, RawClip) else found
            except BadInput as bad:
                yield Skipped(found.name, bad.code, bad.reason)
    except BadInput as bad:
        yield Skipped(entry.name, bad.code, bad.reason)


def read_index(path: Path) -> ClipIndex:
    """Return the index of one shard."""
    with np.load(path, allow_pickle=False) as shard:
        return ClipIndex(**json.loads(shard["about"].tobytes()))


def read_arrays(paths: Sequence[Path]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the arrays of each shard that holds clips."""
    for path in paths:
        with np.load(path, allow_pickle=False) as shard:
            if arrays := {key: shard[key] for key in shard.files if key != "about"}:
                yield arrays
