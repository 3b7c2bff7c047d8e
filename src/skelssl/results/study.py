"""Find the runs of a study and the keys that it swept, by their configurations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from skelssl.core.compose import composed, config_dir, resolved
from skelssl.core.errors import UserError
from skelssl.core.identity import run_id
from skelssl.core.overrides import quote_path
from skelssl.results.aggregate import Row
from skelssl.results.read import Result

ABSENT = "-"  # value of a key that a run does not have


def study_cells(overrides: Sequence[str]) -> dict[str, str]:
    """Return the cells that ``python -m skelssl.train -m OVERRIDES`` runs, in its order: run ID -> overrides.

    Raises:
        HydraException: The overrides do not compose.
    """
    parser = OverridesParser.create()
    given = [quote_path(override) for override in overrides]
    single = [text for text in given if not parser.parse_override(text).is_sweep_override()]
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        swept = hydra.compose("train", single, return_hydra_config=True).hydra.sweeper.params or {}
    every = parser.parse_overrides([*(f"{key}={values}" for key, values in swept.items()), *given])
    choices: dict[str, list[str]] = {}
    for override in every:  # a repeated key takes the later values and keeps its position
        sweep, key = override.is_sweep_override(), override.get_key_element()
        values = override.sweep_string_iterator() if sweep else iter([override.get_value_element_as_str()])
        choices[key] = [f"{key}={value}" for value in values]
    jobs = map(list, product(*choices.values()))
    return {run_id(resolved(composed("train", job))): " ".join(o for o in job if o not in single) for job in jobs}


def results_of_study(results: Sequence[Result], overrides: Sequence[str]) -> tuple[list[Result], list[str]]:
    """Select the results of a study.

    Args:
        results: Results to search.
        overrides: The overrides that ran the study.

    Returns:
        The results of its cells, and a note on the cells without any.

    Raises:
        UserError: No cell has a result.
    """
    expected = study_cells(overrides)
    found = [result for result in results if result.run and result.run.name in expected]
    if not found:
        raise UserError(f"--study: found none of its {len(expected)} cells, expected runs of {' '.join(overrides)}")
    there = {result.run.name for result in found if result.run}
    missing = [cell for name, cell in expected.items() if name not in there]
    note = f"Missing: {len(missing)} of {len(expected)} cells: {'; '.join(missing)}."
    return found, [note] if missing else []


def rows_of_study(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the values of the swept keys, ordered by these.

    Runs are compared with those of the same method, dataset and stream, since presets differ between these.

    Raises:
        UserError: No runs of one method, dataset and stream differ in anything but the seed.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.cell.method, row.cell.dataset, row.cell.stream].append(row)
    keys = {group: swept_keys([row.config for row in members]) for group, members in groups.items()}
    if not any(keys.values()):
        raise UserError("--study: found no runs of one method and dataset that differ in a key, expected a sweep")
    found = [
        replace(row, swept={key: row.config.get(key, ABSENT) for key in keys[group]})
        for group, members in groups.items()
        for row in members
    ]
    return sorted(found, key=lambda row: ([x or "" for x in row.cell], [_order(v) for v in row.swept.values()]))


def swept_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys in which flat configurations differ; of keys that always have equal values the first."""
    names = sorted({key for config in configs for key in config})
    values = {key: [config.get(key, ABSENT) for config in configs] for key in names}
    differing = [key for key in names if any(value != values[key][0] for value in values[key])]
    return [key for i, key in enumerate(differing) if values[key] not in [values[k] for k in differing[:i]]]


def is_number(value: Any) -> bool:
    """Return whether a value can be drawn on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(value: Any) -> tuple[bool, float, str]:
    return (False, value, "") if is_number(value) else (True, 0.0, str(value))
