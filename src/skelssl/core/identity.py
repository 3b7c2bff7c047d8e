"""Identify a run: which keys of its configuration decide the result, and their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skelssl.core.files import sha256

# These keys say where and how a run is computed, not what: they do not change the run id.
MACHINE_KEYS = (
    "data_root", "logger", "callbacks", "rerun", "then", "hydra", "trace", "limit", "trust",
    "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.profiler",
    "method.loader.prefetch", "method.loader.workers", "method.loader.resident",
)  # fmt: skip


# Keys at these default values are left out, wherever they are: adding them to a configuration kept every run id.
IMPLIED = {"coordinates": "xyz", "matmul_precision": "highest"}


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted key -> value of everything that decides the result of a resolved configuration."""
    flat = dict(_flatten(config))
    kept = {k: v for k, v in sorted(flat.items()) if not any(k == m or k.startswith(m + ".") for m in MACHINE_KEYS)}
    kept = {k: v for k, v in kept.items() if (k.rpartition(".")[2], v) not in IMPLIED.items()}
    kept["resume"] = _content(kept.get("resume"))
    return kept


def _content(resume: Any) -> str | None:
    """Return the digest of the checkpoint that a run starts from, None without one; it is part of the identity."""
    return sha256(Path(resume)) if isinstance(resume, str) and Path(resume).is_file() else None


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [pair for k, v in value.items() for pair in _flatten(v, f"{prefix}.{k}" if prefix else str(k))]
    return [(prefix, value)]


def run_id(config: Mapping[str, Any]) -> str:
    """Return ten hex digits that depend on the identity alone."""
    return digest(identity(config))


def digest(values: Mapping[str, Any]) -> str:
    """Return ten hex digits of dotted keys and their values."""
    # 1 and 1.0 are the same setting.
    same = {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in values.items()}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:10]
