"""Parsing in a process pool. A shard is some hundred raw files; its finished file is at once its done-marker.

The module and all it imports stay free of torch, so that worker processes start at once.
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

from skelssl.data.files import atomic_file
from skelssl.data.parsed import FORMAT, Index, pack
from skelssl.data.source import BadInput, Entry, Source
from skelssl.errors import UserError


def inputs_key(source: Source, entries: Sequence[Entry]) -> str:
    """Hash of what the raw files are: equal key, equal parsed arrays. Moving the files does not change it."""
    what = [[e.name, e.size, e.stamp, e.location if source.generated else ""] for e in entries]
    text = json.dumps([FORMAT, source.dataset, source.layout, what])
    return hashlib.sha256(text.encode()).hexdigest()


def plan(source: Source, entries: Sequence[Entry], folder: Path, size: int) -> dict[Path, Sequence[Entry]]:
    """Shard files in the order of their clips, each with its raw files; a name changes when one of them does."""
    cuts = [entries[i : i + size] for i in range(0, len(entries), size)]
    return {folder / f"{inputs_key(source, cut)}.npz": cut for cut in cuts}


def parse_shards(source: Source, shards: Mapping[Path, Sequence[Entry]], workers: int) -> Iterator[int]:
    """Makes the shard files that are not there yet; yields the number of raw files of each as it gets ready."""
    if workers <= 1:
        yield from (parse_shard(source, cut, path) for path, cut in shards.items())
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_die_with_parent) as pool:
        try:
            jobs = [pool.submit(parse_shard, source, cut, path) for path, cut in shards.items()]
            yield from (job.result() for job in as_completed(jobs))
        except BrokenProcessPool as error:
            raise UserError("workers: one was killed, by a lack of memory perhaps; run again to go on") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """Ends this worker when its parent is killed; it would wait for work for ever."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def parse_shard(source: Source, entries: Sequence[Entry], path: Path) -> int:
    """Writes the clips of some files and the reasons for those that gave none; returns the number of files."""
    if not path.exists():
        index, clips = Index(), []
        for entry in entries:
            try:
                clips += (found := source.read(entry))
                for clip in found:
                    index.add(clip)
            except BadInput as bad:
                index.skipped.append([entry.name, bad.code, bad.reason])
        arrays = pack(clips) if clips else {}
        about = np.frombuffer(json.dumps(asdict(index)).encode(), np.uint8)
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, about=about, **arrays)
    return len(entries)


def read_index(path: Path) -> Index:
    """The index of one shard."""
    with np.load(path, allow_pickle=False) as shard:
        return Index(**json.loads(shard["about"].tobytes()))


def read_arrays(paths: Sequence[Path]) -> Iterator[dict[str, NDArray[Any]]]:
    """The arrays of each shard that holds clips."""
    for path in paths:
        with np.load(path, allow_pickle=False) as shard:
            if arrays := {key: shard[key] for key in shard.files if key != "about"}:
                yield arrays
