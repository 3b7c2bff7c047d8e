"""Find the names of imported clips, and check the labels and the split of the file against them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from skelssl.core.errors import UserError
from skelssl.data.imports.rows import ImportContent, ImportPart
from skelssl.data.ntu.source import NTU, parse_name
from skelssl.data.source import FACTS, BadInput, Source
from skelssl.data.split import ClipTable

NAME_FILE = "skes_available_name.txt"
_NAME = re.compile(r"\bS[0-9]{3}C[0-9]{3}P[0-9]{3}R[0-9]{3}A[0-9]{3}\b")
_SPLITS = {"xsub": {"xsub", "cs", "csub"}, "xview": {"xview", "cv", "cview"}, "xset": {"xset", "xsetup", "cset"}}
_DATASETS = {"ntu60": r"ntu\D{0,8}60(?!\d)", "ntu120": r"ntu\D{0,8}120(?!\d)", "pku1": r"pku\D{0,6}1(?!\d)",
             "pku2": r"pku\D{0,6}2(?!\d)"}  # fmt: skip


def check_dataset(path: Path, source: Source) -> None:
    """Raise UserError for a file whose name contains another dataset."""
    for dataset, pattern in _DATASETS.items():
        if path.is_file() and dataset != source.dataset and re.search(pattern, path.stem.lower()):
            raise UserError(f"import={path}: found a file of {dataset} by its name, expected {source.dataset}")


def own_split(found: ImportContent, source: Source, asked: str | None) -> str | None:
    """Return the split of a file, from its name or from ``dataset=``; raise UserError if the two disagree."""
    words = {word for hint in found.hints for word in re.split("[^a-z]+", hint.lower())}
    named = next((split for split, spellings in _SPLITS.items() if words & spellings), None)
    if named and named not in source.splits:
        raise UserError(
            f"import={found.path}: found a file of split {named} by its name, expected one of "
            f"{', '.join(source.splits)} of {source.dataset}"
        )
    if named and asked and named != asked:
        raise UserError(f"import={found.path}: found a file of split {named} by its name, expected {asked}")
    return named or asked


def attach_names(found: ImportContent, source: Source, split: str | None, listed: Path | None) -> str:
    """Name clips without names, if their order is known and a list of names fits; return a description.

    ``listed`` is the user's list; by default the list is searched where CTR-GCN's scripts write it. Raises UserError if
    the user's list does not fit, and for a label that contradicts its name.
    """
    if all(part.names is not None for part in found.parts):
        said = "names in the file"
    elif not isinstance(source, NTU) or found.order is None or split is None:
        if listed:
            raise UserError(f"names={listed}: found an import whose row order is not known, expected no list of names")
        said = "no names, and none can be known"
    else:
        said = _attach_listed(found, source, split, listed)
    if isinstance(source, NTU):
        for part in found.parts:
            _check_labels(part, found.path)
    return said


def _attach_listed(found: ImportContent, source: NTU, split: str, listed: Path | None) -> str:
    folder = found.path if found.path.is_dir() else found.path.parent
    near = [folder / NAME_FILE, folder / "statistics" / NAME_FILE]
    file = listed or next((path for path in near if path.exists()), None)
    if file is None:
        return f"no names: found no {NAME_FILE} beside the file or in statistics/; names=FILE gives it"
    names = _read_names(file, source)
    sides = in_order(names, source, split, found.order)
    wrong = [f"{len(sides[p.side]):,} {p.side} names for {len(p.blocks):,} clips"
             for p in found.parts if len(sides[p.side]) != len(p.blocks)]  # fmt: skip
    if wrong and listed:
        raise UserError(f"names={listed}: found {' and '.join(wrong)}, expected one name per clip of split {split}")
    if wrong:
        return f"no names: {file} has {' and '.join(wrong)}"
    for part in found.parts:
        part.names = sides[part.side]
    return f"names by row order from {file}"


def _read_names(file: Path, source: NTU) -> list[str]:
    """Return the sorted names of this dataset in a text file, without recordings listed as incomplete."""
    try:
        found = set(_NAME.findall(file.read_text("utf-8", errors="replace")))
    except OSError as error:
        raise UserError(f"names={file}: cannot be read ({error.strerror}), expected a list of names") from error
    found -= source.incomplete
    return sorted(name for name in found if parse_name(name)["action"] <= source.facts["classes"])


def in_order(names: Sequence[str], source: NTU, split: str, order: str | None) -> dict[str, list[str]]:
    """Return the training and the test names in the row order of the published files.

    ``ids``: the arrays of CTR-GCN and MAMP are sorted by the split's ids (subjects, cameras or setups), and within an
    id by name. ``name``: by name only.
    """
    rule = source.facts["splits"][split]
    if order == "ids":
        names = sorted(names, key=lambda name: (parse_name(name)[rule["fact"]], name))
    train = set(rule["train"])
    sides: dict[str, list[str]] = {"train": [], "test": []}
    for name in names:
        sides["train" if parse_name(name)[rule["fact"]] in train else "test"].append(name)
    return sides


def _check_labels(part: ImportPart, path: Path) -> None:
    for row, (name, label) in enumerate(zip(part.names or (), part.labels.tolist(), strict=False)):
        if _NAME.fullmatch(name) and parse_name(name)["action"] - 1 != label:
            raise UserError(
                f"import={path}: found label {label} for {name} in row {row} of {part.side or 'the annotations'}, "
                f"expected {parse_name(name)['action'] - 1}; labels and names are not of one file or order"
            )


def check_sides(found: ImportContent, source: NTU, split: str | None) -> None:
    """Raise UserError for a file whose training and test clips do not match any split, or not the given one."""
    sides = {part.side: part.names or () for part in found.parts if part.side}
    if sides and split is None:
        wrong = {name: _off_side(sides, source, name) for name in source.splits}
        if all(wrong.values()):
            raise UserError(
                f"import={found.path}: found {next(iter(wrong.values()))}, expected a split of {source.dataset}"
            )
    wanted = {split: sides} if sides and split else {}
    for key, names in found.lists.items():
        name, _, side = key.rpartition("_")
        wanted.setdefault(name, {})["test" if side == "val" else side] = names
    for name, own in wanted.items():
        if name not in source.splits or not set(own) <= {"train", "test"}:
            raise UserError(
                f"import={found.path}: found the lists {', '.join(found.lists)}, expected train and val of "
                f"{' and '.join(source.splits)} as {source.dataset} has"
            )
        if wrong_one := _off_side(own, source, name):
            raise UserError(f"import={found.path}: found {wrong_one}, expected {source.dataset}'s rule to hold")


def _off_side(sides: Mapping[str, Sequence[str]], source: NTU, split: str) -> str | None:
    """Describe the first clip that the rule of ``split`` assigns to the other side; None if there is none."""
    for side, names in sides.items():
        named = [name for name in names if _NAME.fullmatch(name)]
        ruled = getattr(source.split(split, table_of_names(named)), side)
        if len(ruled) < len(named):
            return f"{next(n for n in named if n not in set(ruled))} on the {side} side of {split}"
    return None


def table_of_names(names: Sequence[str]) -> ClipTable:
    """Return the input of a split rule, from NTU names only."""
    facts = [parse_name(name) for name in names]
    columns = {fact: np.array([of[fact] for of in facts], np.int64) for fact in FACTS}
    return ClipTable(names, np.array([of["action"] - 1 for of in facts], np.int64), columns)


def facts_in_name(name: str) -> dict[str, int]:
    """Return subject, camera, setup and replication from an NTU name; empty for other names."""
    try:
        facts = parse_name(name)
    except BadInput:
        return {}
    return {fact: facts[fact] for fact in FACTS}
