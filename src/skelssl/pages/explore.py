"""Write the page that shows one clip, or a whole dataset, in a browser."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from heapq import nlargest
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from skelssl.core.errors import UserError
from skelssl.core.files import read_json
from skelssl.data.build.checks import examined
from skelssl.data.build.prepare import parsed_folder, prepare_dataset
from skelssl.data.clip import RAW, EmptyClip, RawClip
from skelssl.data.ntu.source import NTU, ntu_facts, parse_skeleton
from skelssl.data.parsed import ClipIndex, ParsedStore
from skelssl.data.recipes import RECIPES
from skelssl.data.report import WARNINGS
from skelssl.data.source import FACTS, BadInput, Source
from skelssl.data.split import read_splits
from skelssl.pages.clip_figures import ClipMethod, recipe_players, recorded_player, training_players
from skelssl.pages.figures.clip_page import write_clip_page
from skelssl.pages.figures.dataset_page import write_dataset_page
from skelssl.pages.figures.player import PlayerClip
from skelssl.skeleton.layout import load_layout

SUFFIX = ".skeleton"  # of a name that is the path of a file
CANDIDATES = 2000  # names compared letter by letter with one that is not known


@dataclass(frozen=True)
class DescribedClip:
    """One clip with its metadata in words."""

    clip: RawClip
    layout: str  # name or path, as the store has it
    facts: list[tuple[str, str]]
    coordinates: str = "xyz"  # xyc: clips in the plane of an image


def write_explore_page(config: DictConfig) -> None:
    """Write the page of the clip ``name``, or of the dataset, and print its path."""
    if config.stream != "joint":
        raise UserError(f"stream: found {config.stream!r}, expected joint (only positions can be drawn)")
    for key, least in (("draws", 1), ("seed", 0)):
        if not isinstance(config[key], int) or config[key] < least:
            raise UserError(f"{key}: found {config[key]!r}, expected a whole number of at least {least}")
    source: Source = instantiate(config.dataset.source, _convert_="all")
    root, name = Path(config.data_root), None if config.name is None else str(config.name)
    if name is None:
        path = page_path(config, source, "index")
        explore_dataset(open_parsed(source, root), path)
    else:
        is_file = name.endswith(SUFFIX)
        found = read_file(Path(name).expanduser()) if is_file else find_clip(open_parsed(source, root), name)
        path = page_path(config, source, found.clip.name.replace("/", "_"))
        explore_clip(found, path, config, source.dataset)
    print(f"-> {path}")


def page_path(config: DictConfig, source: Source, stem: str) -> Path:
    """Return the path of the page: ``html``, or by default a file beside the store."""
    if config.html is not None:
        return Path(config.html).expanduser()
    return parsed_folder(Path(config.data_root), source).parent / "explore" / f"{stem}.html"


def read_file(path: Path) -> DescribedClip:
    """Read a ``.skeleton`` file; raise UserError, with its bad-input code, for an unusable one."""
    try:
        clip = examined(parse_skeleton(path.read_bytes(), path.stem))
    except BadInput as bad:
        raise UserError(f"name={path}: {bad.reason} ({bad.code}), expected a usable recording") from bad
    except OSError as error:
        raise UserError(f"name={path}: cannot be read ({error.strerror}), expected a .skeleton file") from error
    names = ntu_facts()["class_names"]
    title = names[clip.label] if 0 <= clip.label < len(names) else "none of NTU RGB+D"
    return DescribedClip(clip, NTU.layout, describe_clip(clip, title))


def open_parsed(source: Source, data_root: Path) -> ParsedStore:
    """Open the parsed store, after preparing a generated source; raise UserError where there is none."""
    folder = parsed_folder(data_root, source)
    if source.generated:
        prepare_dataset(source, data_root=data_root, raw=[], workers=1, strict=False)
    if not folder.exists():
        raise UserError(
            f"{folder}: not found, expected the prepared {source.dataset}; run skelssl prepare with the same dataset "
            "and raw=PATH first"
        )
    return ParsedStore(folder)


def read_report(store: ParsedStore) -> dict[str, Any]:
    """Return the preparation report: counts, warnings and skipped files."""
    report: dict[str, Any] = read_json(store.folder.parent / "report.json")
    return report


def explore_dataset(store: ParsedStore, path: Path) -> None:
    """Write the page of the dataset, without reading any body."""
    write_dataset_page(
        path,
        title=store.dataset,
        subtitle=f"{len(store.class_names)} classes, layout {store.layout}, {_form(store.form)}",
        clips=store.index.table(),
        class_names=store.class_names,
        n_frames=np.array(store.index.n_frames),
        max_bodies=np.array(store.index.max_bodies),
        splits=read_splits(store.folder.parent / "splits"),
        report=read_report(store),
    )


def find_clip(store: ParsedStore, name: str) -> DescribedClip:
    """Return the clip ``name``; raise UserError with the reason why it was left out, or with similar names."""
    report = read_report(store)
    if name not in store.names:
        raise UserError(f"name={name}: {_why_not(store, name, report)}")
    i = store.names.index(name)
    noted = [code for code, found in report["warnings"].items() if name in found["names"]]
    stored = store.clip(i)
    codes = tuple(sorted({*stored.codes, *noted}))
    clip = replace(stored, codes=codes, repaired=store.index.repaired[i])
    same = [
        n for n, sha1 in zip(store.names, store.index.sha1, strict=True) if sha1 == store.index.sha1[i] and n != name
    ]
    sides = {split: next((s for s in ("train", "test") if name in getattr(sides, s)), "neither side")
             for split, sides in read_splits(store.folder.parent / "splits").items()}  # fmt: skip
    facts = describe_clip(clip, store.class_names[clip.label])
    facts += [(f"split {split}", side) for split, side in sides.items()]
    facts += [("same content as", ", ".join(same) or "no other clip")]
    return DescribedClip(clip, store.layout, facts, store.coordinates)


def _why_not(store: ParsedStore, name: str, report: Mapping[str, Any]) -> str:
    for skip in report["skipped"]:
        if skip["name"] == name:
            return f"left out of {store.dataset} ({skip['code']}: {skip['reason']}), expected a clip of the store"
    near = nlargest(CANDIDATES, store.names, key=lambda known: sum(map(str.__eq__, known, name)))
    close = difflib.get_close_matches(name, near, n=3) or store.names[:1]
    return f"found no such clip among {len(store):,} of {store.dataset}, expected one such as {', '.join(close)}"


def describe_clip(clip: RawClip, class_name: str) -> list[tuple[str, str]]:
    """Return the metadata of a clip in words."""
    row = ClipIndex()
    row.add(clip)
    empty = int((np.diff(clip.frame_ptr) == 0).sum())
    codes = [f"{code}: {WARNINGS.get(code, 'see report.json')}" for code in clip.codes]
    return [
        ("class", f"{class_name} (label {clip.label})"),
        *((fact, str(clip.facts[fact])) for fact in FACTS if fact in clip.facts),
        ("frames", f"{clip.n_frames:,}, of which {empty:,} without a body"),
        ("bodies", f"{len(np.unique(clip.body_id))}, at most {row.max_bodies[0]} at once"),
        ("form", _form(clip.form)),
        ("repaired joints", f"{clip.repaired:,}"),
        ("codes", "; ".join(codes) or "none"),
        ("content (SHA-1)", row.sha1[0]),
    ]


def _form(form: str) -> str:
    if form in RECIPES:
        return f"imported as recipe {form} made it"
    return "bodies as tracked" if form == RAW else "at most two separate persons"


def explore_clip(found: DescribedClip, path: Path, config: DictConfig, dataset: str) -> None:
    """Write the page of one clip: as recorded, under each recipe, and with the views and masks of pre-training."""
    method = ClipMethod.read(config, found.layout, found.coordinates)
    dataset_block = {**config.dataset, "coordinates": found.coordinates}
    recipes, refused = recipe_players(found.clip, found.layout, dataset_block)
    views: list[PlayerClip] = []
    masks: list[PlayerClip] = []
    try:
        views, masks = training_players(found.clip, found.layout, method, config.draws, config.seed)
    except (UserError, EmptyClip) as error:
        refused[f"augmentations of {method.config['method']['name']}"] = str(error)
    write_clip_page(
        path,
        title=found.clip.name,
        subtitle=f"{dict(found.facts)['class']}, {found.clip.n_frames} frames, {dataset}",
        layout=load_layout(found.layout),
        facts=found.facts,
        recorded=recorded_player(found.clip, flat=found.coordinates == "xyc"),
        recipes=recipes,
        views=views,
        masks=masks,
        refused=refused,
    )
