"""One tiny run of the whole suite, which every test here looks at."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any, NamedTuple

import pytest
import torch

from benchmarks.__main__ import main


class Run(NamedTuple):
    """What the command printed and wrote."""

    code: int
    printed: str
    result: dict[str, Any]


@pytest.fixture(scope="package")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``python -m benchmarks --small``, without the processes that measure memory."""
    out, threads = tmp_path_factory.mktemp("bench") / "result.json", torch.get_num_threads()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            code = main(["--small", "--rounds", "2", "--threads", "1", "--no-memory", "--out", str(out)])
    finally:
        torch.set_num_threads(threads)
    return Run(code, printed.getvalue(), json.loads(out.read_text()))
