import os
import warnings

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # as many workers as cores already


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """One data root for the tests of a worker: what one test prepares, the next finds."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def _quiet_lightning():
    warnings.filterwarnings("ignore", module="lightning")


def pytest_terminal_summary(terminalreporter):
    """How many tests used real recordings, so that a run without them does not look like one with them."""
    used = sum("shared" in r.keywords for r in terminalreporter.stats.get("passed", []) if r.when == "call")
    skipped = sum("shared" in r.keywords for r in terminalreporter.stats.get("skipped", []))
    terminalreporter.write_line(f"real recordings: {used} tests used them, {skipped} skipped for want of them")
