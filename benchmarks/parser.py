"""MB/s of the ``.skeleton`` parser beside a plain line-by-line reader that converts only xyz, on one core, in one run.

python benchmarks/parser.py FOLDER_OR_ZIP
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelssl.data.ntu.text import read_skeleton
from skelssl.data.roots import read_bytes, scan

ROUNDS = 5
FILES = 500


def plain_reader(data: bytes) -> NDArray[np.float32]:
    """xyz (R * V, 3) as a naive reader gets them."""
    lines = iter(data.decode("ascii").splitlines())
    rows = []
    for _ in range(int(next(lines))):
        for _ in range(int(next(lines))):
            next(lines)
            for _ in range(int(next(lines))):
                rows.append([float(word) for word in next(lines).split()[:3]])
    return np.array(rows, dtype=np.float32)


def seconds(reader: Callable[[bytes], object], texts: Sequence[bytes]) -> float:
    """CPU time of one pass over all texts, so that a busy machine tells the same."""
    start = time.process_time()
    for text in texts:
        reader(text)
    return time.process_time() - start


def main(root: Path) -> None:
    texts = [text for entry in islice(scan([root], ".skeleton"), FILES) if (text := read_bytes(entry))]
    for text in texts:
        np.testing.assert_array_equal(read_skeleton(text).bodies.reshape(-1, 3), plain_reader(text))
    rounds = [(seconds(plain_reader, texts), seconds(read_skeleton, texts)) for _ in range(ROUNDS)]
    plain, ours = (sum(map(len, texts)) / 1e6 / min(times) for times in zip(*rounds, strict=True))
    print(f"{len(texts)} files, {sum(map(len, texts)) / 1e6:.1f} MB, equal arrays")
    print(f"plain reader {plain:7.1f} MB/s per core")
    print(f"skelssl      {ours:7.1f} MB/s per core   {ours / plain:.2f}x")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
