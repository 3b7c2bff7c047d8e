"""Draw accuracy with missing joints: over their number, and by part of the body."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from skelssl.pages.figures.axes import Axis, ticks
from skelssl.pages.figures.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, chart_panel, gridline
from skelssl.results.read import Result

CAPTION = (
    "Top-1 accuracy with missing joints. Dashed and hollow: the same encoder at random init. Several seeds: mean, and "
    "a band from minimum to maximum. The seed draws joints and parts; smaller sets are subsets of larger ones."
)


@dataclass(frozen=True)
class LostJointsCurve:
    """Top-1 of one encoder for every set of missing joints, one value per seed."""

    name: str
    points: Mapping[str, Mapping[str, Any]]  # by the name of the set; those of the first seed
    trained: Mapping[str, Sequence[float]]
    random_init: Mapping[str, Sequence[float]]  # empty where it was not evaluated


def curves_of(results: Sequence[Result]) -> list[LostJointsCurve]:
    """Return the lost-joints results as curves; results that differ only in the seed make one curve."""
    groups: dict[tuple[Any, str], list[Result]] = defaultdict(list)
    for result in results:
        if result.facts["protocol"] == "lost_joints" and result.facts.get("curve"):
            groups[result.cell, result.experiment].append(result)
    identities = [_identity(group[0]) for group in groups.values()]
    distinct = [
        key
        for key in (identities[0] if identities else {})
        if key == "method" or len({one[key] for one in identities}) > 1
    ]
    names = [", ".join(str(one[key]) for key in distinct if one[key]) for one in identities]
    if len(set(names)) < len(names):
        runs = [group[0].run for group in groups.values()]
        names = [f"{name}, {run.name}" if run else name for name, run in zip(names, runs, strict=True)]
    return [_curve(name, group) for name, group in zip(names, groups.values(), strict=True)]


def _identity(result: Result) -> dict[str, Any]:
    """Return the keys that may distinguish curves, in the order of their names."""
    facts, recipe = result.facts, result.facts["recipe"]
    own = (facts["setting"] or "").partition(f"{recipe['headline']} lost")
    when = {"both": "lost in training and test", "test": "lost in test"}[recipe["when"]]
    return {
        "method": facts["method"], "dataset": facts["dataset"], "stream": facts["stream"], "mode": facts["mode"],
        "how": recipe["how"], "when": when, "of": recipe["of"]["name"], "setting": own[0].strip(", "),
    }  # fmt: skip


def _curve(name: str, group: Sequence[Result]) -> LostJointsCurve:
    trained: dict[str, list[float]] = defaultdict(list)
    random: dict[str, list[float]] = defaultdict(list)
    for result in group:
        for values, points in ((trained, result.facts["curve"]), (random, _random(result))):
            for point in points:
                values[point["lost"]].append(point["top1"])
    return LostJointsCurve(name, {point["lost"]: point for point in group[0].facts["curve"]}, trained, random)


def _random(result: Result) -> Sequence[Mapping[str, Any]]:
    points: Sequence[Mapping[str, Any]] = (result.facts.get("random_init_extra") or {}).get("curve", ())
    return points


def lost_joints_figure(curves: Sequence[LostJointsCurve]) -> str:
    """Draw both charts; a chart without points is left out."""
    lines = [line for i, curve in enumerate(curves) for line in _lines(curve, i)]
    joints = chart_panel("accuracy over missing joints", lines) if lines else ""
    return f'<div class="panels">{joints}{_parts(curves)}</div>'


def _lines(curve: LostJointsCurve, color: int) -> list[Line]:
    """Return the lines over the number of joints: pre-trained encoder and random init."""
    chosen = [name for name, point in curve.points.items() if point["kind"] in ("none", "joints")]
    chosen.sort(key=lambda name: curve.points[name]["n_lost"])
    if len(chosen) < 2:
        return []
    x = np.array([curve.points[name]["n_lost"] for name in chosen], np.float64)

    def line(values: Mapping[str, Sequence[float]], name: str, dashed: bool) -> Line:
        mean, low, high = (np.array([f(values[n]) for n in chosen]) for f in _SPREAD)
        return Line(name, x, mean, low, high, unit="missing joints:", color=color, dashed=dashed)

    random = [line(curve.random_init, f"{curve.name}, random init", True)] if curve.random_init else []
    return [line(curve.trained, curve.name, False), *random]


_SPREAD: tuple[Callable[[Sequence[float]], Any], ...] = (np.mean, min, max)


def _parts(curves: Sequence[LostJointsCurve]) -> str:
    """Draw a column for the full body and each part, with a dot for each encoder; random init is hollow."""
    columns = dict.fromkeys(
        name for c in curves for name, point in c.points.items() if point["kind"] in ("none", "part", "parts")
    )
    if len(columns) < 2:
        return ""
    values = [v for c in curves for side in (c.trained, c.random_init) for n in columns for v in side.get(n, ())]
    y = Axis(ticks(0.0, max(values)), HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / len(columns)
    grid = "".join(gridline(f"{100 * v:g} %", at) for v, at in y.marks())
    body = "".join(
        _column(name, LEFT + (i + 0.5) * step, step / (len(curves) + 1), curves, y) for i, name in enumerate(columns)
    )
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="accuracy with missing parts of the body">{grid}{body}</svg>'
    keys = "".join(f'<span class="key c{i % 6}">{escape(c.name)}</span>' for i, c in enumerate(curves))
    return f'<div class="panel"><h3>accuracy with missing parts</h3><p class="keys">{keys}</p>{svg}</div>'


def _column(name: str, at: float, apart: float, curves: Sequence[LostJointsCurve], y: Axis) -> str:
    """Draw the dots of one part side by side, above its name in two lines."""
    words = ("full body" if name == "none" else name.replace("_", " ")).split(" ")
    text = "".join(
        f'<text x="{at:.1f}" y="{HEIGHT - 16 + 13 * i}" class="mid">{escape(word)}</text>'
        for i, word in enumerate(words)
    )
    dots = ""
    for i, curve in enumerate(curves):
        x = at + (i - (len(curves) - 1) / 2) * min(apart, 14)
        for side, hollow in ((curve.random_init, " dashed"), (curve.trained, "")):
            if name in side:
                mean = float(np.mean(side[name]))
                title = f"{curve.name}{', random init' if hollow else ''}: {100 * mean:.1f} %"
                height = y(np.array([mean]))[0]
                circle = f'<circle cx="{x:.1f}" cy="{height:.1f}" r="5"/>'
                dots += f'<g class="dot c{i % 6}{hollow}"><title>{escape(title)}</title>{circle}</g>'
    return text + dots
