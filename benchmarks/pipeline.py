"""Input: clips a second that one worker on one core reads out of a recipe store and shows to the method.

Ours gathers a batch from the memory map and works on it as a whole; the naive baseline reads, pads and augments
clip by clip. Both show the same clips, to rounding, which is asserted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.forms import Form
from benchmarks.suite import FORMS, METHODS, Case, Disagreement, Options
from skelssl.data.loader import TrainLoader

# Estimates of what an H200's step would eat (bfloat16, launch overhead removed); not measured.
FASTEST = {
    "mamp": "10,700 to 12,800 (estimated)",  # 10 to 12 ms of 128 clips
    "skeleton2vec": "1,300 to 2,200 (estimated)",  # 3 to 5 h of 600 epochs of 40,091 clips
    "ha_cm": "13,000 to 16,000 (estimated)",
}
CLIPS, BATCH, ROUNDS = 512, 128, 3


def measure(options: Options) -> dict[str, Any]:
    """For each method, ready for JSON; one thread whatever ``options`` say."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: one(name, options) for name in METHODS}
    finally:
        torch.set_num_threads(threads)


def one(name: str, options: Options) -> dict[str, Any]:
    clips, batch, rounds = (12, 4, 1) if options.small else (CLIPS, BATCH, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        case = Case(name, Options(batch=clips, small=options.small), Path(folder))
        forms = {form: case.form(form) for form in FORMS}
        groups = np.random.default_rng(2).permutation(clips).reshape(-1, batch)
        check_agreement(name, forms, groups[0])
        seconds: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(rounds):
            for form in FORMS:
                seconds[form].append(timed(lambda form=form: [show(forms[form], rows) for rows in groups]))  # type: ignore[misc]
        loader = TrainLoader(case.store, np.arange(clips), batch=batch, seed=0, prefetch=0)
        alone = statistics.median(timed(lambda: list(loader)) for _ in range(rounds))
        frames = float(np.diff(case.store.offsets).mean())
    rates = {form: clips / statistics.median(own) for form, own in seconds.items()}
    return {"frames": frames, "clips_per_second": rates, "read_only": clips / alone, "fastest_step": FASTEST.get(name)}


def show(form: Form, rows: Any) -> torch.Tensor:
    """One view of the clips ``rows``."""
    view: Any = form
    x: torch.Tensor = view.view(form.gather(rows), torch.Generator().manual_seed(0))
    return x


def check_agreement(name: str, forms: dict[str, Form], rows: Any) -> None:
    """Raises Disagreement where the forms' clips differ by more than float32 rounds."""
    naive, ours = (show(forms[form], rows) for form in FORMS)
    if not torch.allclose(naive, ours, rtol=1e-4, atol=1e-4):
        raise Disagreement(f"data of {name}: clips differ by {(naive - ours).abs().max():.1e}, expected at most 1e-4")


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
