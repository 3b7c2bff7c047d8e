"""One small raw set, prepared once: bodies that come and go, ghosts and empty frames, three cameras, two setups."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from skelssl.data.build.prepare import build_parsed
from skelssl.data.clip import EmptyClip, RawClip
from skelssl.data.ntu.source import NTU, parse_name
from skelssl.data.parsed import ParsedStore
from skelssl.data.recipes import RECIPES, RecipeConfig
from tests.helpers.bodies import random_clip
from tests.helpers.ntu_text import format_skeleton

NAMES = [f"S{s:03}C{c:03}P{p:03}R001A{a:03}" for s in (1, 2) for c in (1, 2, 3) for p in (3, 1, 8) for a in (1, 52)]


def usable(clip: RawClip) -> bool:
    """Whether the references' preparations neither fail on a clip nor leave nothing of it."""
    try:
        return all(RecipeConfig(name).build().published(clip).any() for name in RECIPES)
    except EmptyClip:
        return False


@pytest.fixture(scope="session")
def raw_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    clips = filter(usable, map(random_clip, count()))
    for name, clip in zip(NAMES, clips, strict=False):
        clip = replace(clip, name=name, label=parse_name(name)["action"] - 1)
        (folder / f"{name}.skeleton").write_bytes(format_skeleton(clip))
    return folder


@pytest.fixture(scope="session")
def raw(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> ParsedStore:
    """The set prepared from its text files."""
    folder = tmp_path_factory.mktemp("store") / "v1" / "parsed"
    build_parsed(NTU("ntu60"), [raw_files], folder, workers=1, strict=False, progress=False)
    return ParsedStore(folder)
