"""Prepare one dataset: parse raw files to a store, splits and a report, under ``<data_root>/<dataset>/v1``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_folder, check_space, locked, remove_stale, write_json
from skelssl.core.overrides import split_at_commas
from skelssl.data.build import shards
from skelssl.data.parsed import ClipIndex, ParsedStore, write_store
from skelssl.data.report import Report
from skelssl.data.source import Entry, Source, all_splits
from skelssl.data.split import Split, write_splits

SHARD_SIZE = 500
_SPACE = 1.0  # bytes on disk per byte of text, shards and store together; measured 0.28 (NTU) to 0.64 (PKU-MMD)


def parsed_folder(data_root: Path, source: Source) -> Path:
    """Return the folder of the parsed store of a source."""
    return data_root / source.dataset / "v1" / "parsed"


def split_paths(raw: str | Sequence[str] | None) -> list[Path]:
    """Split ``A,B`` into paths; a comma in the name of an existing path does not split it.

    Raises UserError for the home folder of an unknown user.
    """
    names = split_at_commas(raw) if isinstance(raw, str) else raw or ()
    try:
        return [Path(name).expanduser() for name in names]
    except RuntimeError as error:
        raise UserError(f"raw: found {','.join(names)}, expected ~ or ~USER of a user of this machine") from error


def prepare_dataset(
    source: Source, *, data_root: Path, raw: Sequence[Path], workers: int, strict: bool | None
) -> Report:
    """Parse one dataset, write its splits and report, and print a summary.

    If the store is complete and the raw files are unchanged, nothing is parsed.

    Args:
        source: the dataset
        data_root: the folder that receives ``<dataset>/v1``
        raw: folders, zips or files of raw recordings
        workers: number of processes
        strict: True rejects an incomplete or invalid dataset, and False accepts equal clips in training and test split

    Returns:
        the report, as written to ``report.json``

    Raises:
        UserError: for a raw path that does not exist, a target without space or permission, equal clips in training and
            test split unless ``strict`` is False, and an incomplete or invalid dataset if it is True
    """
    for root in raw:
        if not root.exists():
            raise UserError(f"raw={root}: found nothing there, expected a folder or a zip with raw recordings")
    folder = parsed_folder(data_root, source)
    report = build_parsed(source, raw, folder, workers=workers, strict=strict)
    if report.built or not source.generated:
        report.print()
    return report


def build_parsed(
    source: Source,
    roots: Sequence[Path],
    folder: Path,
    *,
    workers: int,
    strict: bool | None,
    shard_size: int = SHARD_SIZE,
    progress: bool = True,
) -> Report:
    """Build or reuse the parsed store ``folder``, and write ``report.json`` and ``splits/`` beside it.

    Completed shards survive a kill, and the next call resumes from them. The bytes of the store do not depend on
    ``workers``, ``shard_size`` or interruptions. Raises UserError as `prepare_dataset`; nothing is published then.
    """
    report = Report(source.dataset)
    entries = source.entries(roots, report)
    if not entries:
        raise UserError(f"raw={', '.join(map(str, roots))}: found no file of {source.dataset}, expected its recordings")
    inputs = shards.inputs_key(source, entries)
    try:
        with locked(folder.parent / ".prepare.lock"):  # another process may be building the same store
            if store := _current(folder, inputs):
                report.notes.insert(0, f"{folder}: complete, and the raw files are the same: nothing to do")
                splits = _examine(source, store.index, report, strict)
                write_splits(splits, folder.parent / "splits")  # the rule of a custom dataset may have changed
                return report
            if folder.exists():
                report.notes.append(f"{folder}: was made from other files and is replaced")
            parts = _parse(source, entries, folder, workers, shard_size, progress)
            index = _merge(parts)
            splits = _accepted(source, index, folder, report, strict)
            _publish(source, index, splits, parts, folder, inputs)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error}), expected a data_root with room (D33)") from error
    report.built = True
    return report


def _current(folder: Path, inputs: str) -> ParsedStore | None:
    """Return the published store if it was made from these inputs."""
    if not folder.exists():
        return None
    store = ParsedStore(folder)
    return store if store.inputs == inputs else None


def _parse(
    source: Source, entries: Sequence[Entry], folder: Path, workers: int, shard_size: int, progress: bool
) -> list[Path]:
    """Parse all shards; return the completed files in the order of their clips."""
    work = folder.with_name(f".{folder.name}.shards")
    work.mkdir(exist_ok=True)
    check_space(work, int(_SPACE * sum(entry.size for entry in entries)), "for parsing")
    plan = shards.plan(source, entries, work, shard_size)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(f"parse {source.dataset}", total=len(entries))
        for count in shards.parse_shards(source, plan, workers):
            bar.advance(task, count)
    return list(plan)


def _merge(parts: Sequence[Path]) -> ClipIndex:
    index = ClipIndex()
    for path in parts:
        index.extend(shards.read_index(path))
    return index


def _accepted(source: Source, index: ClipIndex, folder: Path, report: Report, strict: bool | None) -> dict[str, Split]:
    """Return the splits of a valid dataset; write and print the report of a rejected one and raise UserError."""
    try:
        splits = _examine(source, index, report, strict)
    except UserError as error:
        report.print()
        raise UserError(f"{error}; the report is {report.write_rejected(folder.parent)}") from error
    write_json(folder.parent / "report.json", report.as_json())
    return splits


def _publish(
    source: Source, index: ClipIndex, splits: Mapping[str, Split], parts: Sequence[Path], folder: Path, inputs: str
) -> None:
    """Write the splits and then the store, so that an existing store is always complete."""
    write_splits(splits, folder.parent / "splits")
    for file in (folder.parent / "splits").glob("[!.]*.json"):
        if file.stem not in splits:  # of a previous dataset; an import without names has only the split of its file
            file.unlink()
    remove_stale(folder)
    with atomic_folder(folder) as temporary:
        meta = {"dataset": source.dataset, "layout": source.layout, "form": source.form, "inputs": inputs,
                "class_names": list(source.class_names),
                "arguments": dict(source.arguments)}  # fmt: skip
        write_store(temporary, shards.read_arrays(parts), index, meta)
    shutil.rmtree(parts[0].parent)
    (folder.parent / "report.refused.json").unlink(missing_ok=True)


def _examine(source: Source, index: ClipIndex, report: Report, strict: bool | None) -> dict[str, Split]:
    """Complete the report from the parsed clips; raise UserError for what `prepare_dataset` rejects."""
    for name, code, reason in index.skipped:
        report.skip(name, code, reason)
    for name, codes in zip(index.name, index.codes, strict=True):
        for code in codes:
            report.warn(code, name)
    if len(set(index.name)) < len(index.name):
        raise UserError(f"{source.dataset}: found clips of one name twice, expected unique names")
    clips = index.table()
    splits = all_splits(source, clips)
    report.tally(clips, splits, source.expected())
    report.find_duplicates(index.name, index.sha1, splits)
    report.find_outliers(index.name, index.n_frames)
    report.counts["repaired_joints"] = sum(index.repaired)
    if not index.name:
        raise UserError(f"{source.dataset}: found no usable clip; {report.complaint()}")
    if complaint := report.complaint():
        if strict:
            raise UserError(f"{complaint}; without strict=true it is accepted")
        report.notes.append(f"accepted (strict=true would reject it): {complaint}")
    if leak := report.leak():
        if strict is not False:
            raise UserError(f"{leak}, expected none; pass strict=false to accept it")
        report.notes.append(f"accepted with strict=false: {leak}")
    return splits
