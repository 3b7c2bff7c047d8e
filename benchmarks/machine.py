"""On what a measurement was made, and what that machine reaches by itself."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.counts import rates
from skelssl.core.runs import git_commit


def about(device: str, threads: int, small: bool = False) -> dict[str, Any]:
    """Facts of the machine, ready for JSON."""
    found = {
        "date": date.today().isoformat(), "commit": git_commit(), "device": device, "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads, "torch": torch.__version__, "python": platform.python_version(), "small": small,
        "rates": rates(device, small),
    }  # fmt: skip
    if device.startswith("cuda"):
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return found


def cpu() -> str:
    """The processor's name, as Linux has it, else the architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
