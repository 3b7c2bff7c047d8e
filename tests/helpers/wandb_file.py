"""What W&B's client wrote while offline, read back: records of protobuf in LevelDB's log format."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as wire

BLOCK, HEADER, PREAMBLE = 32768, 7, 7


def records(run: Path) -> list[Any]:
    """Every record of the offline runs in a run folder, the oldest first, once W&B's own process has written them."""
    until = time.monotonic() + 60
    while True:
        files = [list(_scan(path)) for path in sorted(run.glob("wandb/offline-run-*/*.wandb"))]
        if all(any(r.WhichOneof("record_type") == "exit" for r in file) for file in files):
            return [record for file in files for record in file]
        assert time.monotonic() < until, "W&B has not ended its run"
        time.sleep(0.1)


def _scan(path: Path) -> Iterator[Any]:
    data, at, parts = path.read_bytes(), PREAMBLE, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # too little of a block for a header is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if at > len(data):  # being written
            return
        if kind in (1, 4):  # whole, or the last part
            record = wire.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def history(run: Path) -> list[dict[str, Any]]:
    """The logged rows."""
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records(run)
        if record.WhichOneof("record_type") == "history"
    ]


def configuration(run: Path) -> dict[str, Any]:
    """The configuration that the runs were given, with what was added later."""
    found: dict[str, Any] = {}
    for record in records(run):
        for update in (*record.run.config.update, *record.config.update):
            found[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
    return found
