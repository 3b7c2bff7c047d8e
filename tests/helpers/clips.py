"""Small raw clips, and folders of ``.skeleton`` files made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skelssl.data.clip import RawClip
from tests.helpers.ntu_text import format_skeleton


def make_clip(name: str = "S001C001P001R001A001", counts: Sequence[int] = (1, 2, 1), seed: int = 0) -> RawClip:
    """A clip with ``counts[f]`` bodies in frame f; coordinates with 7 decimals, ids of 17 digits."""
    dice, rows = np.random.default_rng(seed), sum(counts)
    return RawClip(
        name=name,
        label=int(name[-3:]) - 1,
        bodies=dice.normal(0, 2, (rows, 25, 3)).round(7).astype(np.float32),
        body_id=72057594037944734 + dice.integers(0, 5, rows),
        track=dice.integers(0, 3, (rows, 25)).astype(np.uint8),
        frame_ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        facts={"setup": int(name[1:4]), "camera": int(name[5:8]), "subject": int(name[9:12]),
               "replication": int(name[13:16])},
    )  # fmt: skip


def write_clips(folder: Path, names: Sequence[str]) -> list[RawClip]:
    """One file per name, with different content each."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = [make_clip(name, counts=[1] * (2 + i % 3), seed=i) for i, name in enumerate(names)]
    for clip in clips:
        (folder / f"{clip.name}.skeleton").write_bytes(format_skeleton(clip))
    return clips


def assert_same(found: RawClip, wanted: RawClip) -> None:
    """Equal arrays, types, name, label and facts."""
    for key in ("bodies", "body_id", "track", "frame_ptr"):
        np.testing.assert_array_equal(getattr(found, key), getattr(wanted, key), err_msg=key)
        assert getattr(found, key).dtype == getattr(wanted, key).dtype, key
    assert (found.name, found.label, dict(found.facts)) == (wanted.name, wanted.label, dict(wanted.facts))
