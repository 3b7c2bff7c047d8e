"""Real recordings outside the project, found through SKELSSL_SHARED alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.data import process_file
from skelssl.data.source import BadInput

SHARED = Path(os.environ["SKELSSL_SHARED"]) if "SKELSSL_SHARED" in os.environ else None


def shared(test: Any) -> Any:
    """Marks a test that reads real recordings; without them it skips and says why."""
    absent = pytest.mark.skipif(SHARED is None, reason="SKELSSL_SHARED is not set: no real recordings at hand")
    return pytest.mark.shared(absent(test))


def data(*parts: str) -> Path:
    """A path below the folder of recordings."""
    return (SHARED or Path()).joinpath("data", *parts)


def golden_clips(recipe: str, key: str) -> Iterator[tuple[Path, Mapping[str, np.ndarray]]]:
    """The 12 recordings that the reference of ``recipe`` could read, with its arrays; the other 3 must be refused."""
    found = 0
    for path in sorted(data("ntu_raw", "golden").glob("*.npz")):
        kind, name = path.stem.split("__")
        raw, golden = data("ntu_raw", kind, f"{name}.skeleton"), np.load(path)
        if key in golden and golden[key].any():
            found += 1
            yield raw, golden
        else:
            with pytest.raises(BadInput):
                process_file(raw, recipe=recipe)
    assert found == 12
