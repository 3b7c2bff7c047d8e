"""Run and configuration: seed, time, memory, versions and every setting of a run."""

from __future__ import annotations

from typing import Any

from skelssl.core.files import read_json
from skelssl.pages.figures.counts import fact_table
from skelssl.pages.figures.settings import settings_tables
from skelssl.pages.run import OpenedRun, Section


def configuration_section(run: OpenedRun) -> Section:
    """List what ``run.json`` and ``config.yaml`` record."""
    facts = [("folder", str(run.run)), ("run id", run.run.name), *_provenance(run)]
    return Section("", fact_table(facts) + settings_tables(run.config))


def _provenance(run: OpenedRun) -> list[tuple[str, str]]:
    path = run.run / "run.json"
    record: dict[str, Any] = read_json(path) if path.exists() else {}
    if not record:
        return [("state", "unfinished; the same command resumes it")]
    return [
        ("seed", str(record["seed"])),
        ("training", f"{record['epochs']:,} epochs, {record['steps']:,} steps, {record['seconds']:,.0f} s"),
        ("peak memory", f"{record['peak_memory_mb']:,} MB" if record.get("peak_memory_mb") else "unknown"),
        ("data fingerprint", str(record["data_fingerprint"])),
        ("commit", record["git_commit"] or "unknown"),
        ("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
    ]
