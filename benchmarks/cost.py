"""What a training step costs over its sizes: ``python -m benchmarks.cost --out cost.json --svg docs/figures/cost.svg``.

Each method at a moderate width, one size varied at a time: frames, joints (by layouts), clips, and the ratio of tokens
or joints that no mask hides. The exponent p of seconds ~ size^p is fitted by least squares in logarithms. Beside it
stand the smallest and largest slope between neighbouring sizes: a curve that is no power law is seen to be none.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.counts import waiter
from benchmarks.forms import make_store
from benchmarks.machine import about
from benchmarks.suite import METHODS, Case, Options
from benchmarks.tables import markdown
from benchmarks.tape import every
from skelssl.pages.figures.axes import Axis, log_ticks
from skelssl.pages.figures.html import stylesheet
from skelssl.runtime.memory import keep_pages
from skelssl.skeleton.layout import load_layout

LAYOUTS = ("coco17", "kinect20", "ntu25", "mediapipe33")
TRANSFORMER = ("encoder.hidden=128", "encoder.depth=4", "encoder.heads=4", "decoder.hidden=128", "decoder.heads=4")
BATCHES, RATIOS = (2, 4, 8, 16), (0.5, 0.7, 0.8, 0.9)
AXES = ("frames", "joints", "clips", "visible share")


class Study(NamedTuple):
    """The sizes of one method; overrides are of ``method.``, an empty one means that the axis does not exist."""

    base: tuple[str, ...]
    clips: int
    frames: tuple[int, ...]
    frames_key: str | None  # None: the recipe sets them
    visible: Mapping[float, str]  # keep ratio -> override


def ratios(tokens: str = "masking.ratio") -> dict[float, str]:
    return {round(1 - ratio, 3): f"{tokens}={ratio}" for ratio in RATIOS}


STUDIES = {
    "pstl": Study(("encoder.hidden=16", "head.dim=1024", "csm.sampling=distinct"), 8, (30, 50, 80, 120), None,
                  {round(1 - m / 25, 3): f"csm.mask_joint={m}" for m in (4, 8, 12, 16)}),
    "skeleton_contrast": Study(("encoder.seq.hidden=128", "encoder.graph.hidden=16", "queue.size=4096"), 8,
                               (32, 64, 96, 128), "view.pretrain.frames", {}),
    "mamp": Study(TRANSFORMER, 8, (40, 80, 120, 160), "encoder.frames", ratios()),
    "skeleton2vec": Study(TRANSFORMER, 8, (45, 90, 135, 180), "encoder.frames", ratios()),
    "ha_cm": Study(TRANSFORMER, 8, (36, 72, 108, 144), "encoder.frames", ratios()),
}  # fmt: skip


def curves(name: str, options: Options) -> dict[str, Any]:
    """Axis -> sizes, seconds and exponent of one method, ready for JSON."""
    study = STUDIES[name]
    base = () if options.small else study.base
    few = slice(0, 2) if options.small else slice(None)
    points: dict[str, dict[float, Callable[..., Case]]] = {axis: {} for axis in AXES}
    for frames in study.frames[few]:
        own = () if study.frames_key is None else (f"{study.frames_key}={frames}",)
        points["frames"][frames] = partial(sized, name, (*base, *own), study.clips, options, None if own else frames)
    for body in LAYOUTS[few]:
        points["joints"][len(load_layout(body).joints)] = partial(sized, name, base, study.clips, options, body=body)
    for clips in BATCHES[few]:
        points["clips"][clips] = partial(sized, name, base, clips, options)
    for share, override in list(study.visible.items())[few]:
        points["visible share"][share] = partial(sized, name, (*base, override), study.clips, options)
    return {axis: fitted(fastest(made, options)) for axis, made in points.items() if made}


def sized(
    name: str, overrides: Sequence[str], clips: int, options: Options, frames: int | None = None, body: str = "ntu25",
    *, folder: Path,
) -> Case:  # fmt: skip
    """The method at one size."""
    given = (*(f"method.{override}" for override in overrides), f"dataset.layout={body}")
    case = Case(name, Options(batch=clips, device=options.device, small=options.small, overrides=given), folder)
    if frames is not None:
        case.store = make_store(case.config, folder, len(case.store), (frames, frames))
    return case


def fastest(made: Mapping[float, Callable[..., Case]], options: Options) -> list[tuple[float, float]]:
    """Size and seconds of the fastest step of ours; the sizes take turns, so that what disturbs one disturbs all."""
    taken: dict[float, list[float]] = {size: [] for size in made}
    wait = waiter(options.device)
    with tempfile.TemporaryDirectory() as root:
        forms = {}
        for i, (size, make) in enumerate(made.items()):
            (folder := Path(root) / str(i)).mkdir()
            case = make(folder=folder)
            forms[size] = case, case.form("ours")
        for _ in range(options.rounds + 1):  # the first one warms up
            for size, (case, form) in forms.items():
                start = time.perf_counter()
                case.step(form, every())
                wait()
                taken[size].append(time.perf_counter() - start)
    return [(size, min(own[1:])) for size, own in taken.items()]


def fitted(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Sizes, seconds, the fitted exponent, and the range of the slopes between neighbours.

    >>> found = fitted([(1, 0.5), (2, 2.0), (4, 8.0)])
    >>> round(found["exponent"], 6), [round(slope, 6) for slope in found["range"]]
    (2.0, [2.0, 2.0])
    """
    x, y = np.array(sorted(pairs), np.float64).T
    slopes = np.diff(np.log(y)) / np.diff(np.log(x))
    exponent = float(np.polyfit(np.log(x), np.log(y), 1)[0])
    return {"x": x.tolist(), "seconds": y.tolist(), "exponent": exponent,
            "range": [float(slopes.min()), float(slopes.max())]}  # fmt: skip


WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 440, 250, 58, 34, 34


def svg(found: dict[str, Any]) -> str:
    """All axes as one SVG file, both scales logarithmic, a line for each method."""
    panels = [axis for axis in AXES if any(axis in own for own in found.values())]
    rows = (len(panels) + 1) // 2
    body = "".join(
        f'<g transform="translate({i % 2 * WIDTH} {i // 2 * HEIGHT})">{panel(axis, found)}</g>'
        for i, axis in enumerate(panels)
    )
    keys = "".join(
        f'<g class="c{i}" transform="translate({16 + i * 170} {rows * HEIGHT + 18})">'
        f'<polyline points="0,-4 16,-4" style="stroke:currentColor;stroke-width:3"/>'
        f'<text x="22">{escape(name)}</text></g>'
        for i, name in enumerate(found)
    )
    size = f'viewBox="0 0 {2 * WIDTH} {rows * HEIGHT + 34}" width="{2 * WIDTH}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="panel" {size}>'
        f"<style>{escape(stylesheet(), quote=False)}</style>"
        f'<rect width="100%" height="100%" style="fill:var(--card)"/>{body}{keys}</svg>\n'
    )


def panel(axis: str, found: dict[str, Any]) -> str:
    """Seconds over one size."""
    lines = [(i, own[axis]) for i, own in enumerate(found.values()) if axis in own]
    sizes, seconds = ([v for _, line in lines for v in line[key]] for key in ("x", "seconds"))
    x = Axis(log_ticks(min(sizes), max(sizes), 8), LEFT, WIDTH - 16, log=True)
    y = Axis(log_ticks(min(seconds), max(seconds)), HEIGHT - BOTTOM, TOP, log=True)
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 16}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text x="{LEFT - 7}" y="{at + 4:.1f}" class="end">{value:g} s</text>'
        for value, at in y.marks()
    )
    marks = "".join(f'<text x="{at:.1f}" y="{HEIGHT - 12}" class="mid">{value:g}</text>' for value, at in x.marks())
    paths = ""
    for i, line in lines:
        places = list(zip(x(np.array(line["x"])), y(np.array(line["seconds"])), strict=True))
        dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in places)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        paths += f'<g class="line c{i}"><polyline points="{points}"/>{dots}</g>'
    title = f"Seconds of a step over {axis}"
    return f'<text x="8" y="17" style="fill:var(--ink);font-weight:600">{title}</text>{grid}{marks}{paths}'


def main(given: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="tiny networks, two sizes: whether it runs, not how fast")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--svg", type=Path)
    chosen = parser.parse_args(given)
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"--device {chosen.device}: there is no such device here, nothing was measured")
        return 0
    torch.set_num_threads(chosen.threads)
    if not chosen.small:
        keep_pages()
    options = Options(rounds=chosen.rounds, device=chosen.device, small=chosen.small)
    found: dict[str, Any] = {"about": about(chosen.device, chosen.threads, chosen.small), "cost": {}}
    for name in chosen.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found["cost"][name] = curves(name, options)
    print(markdown(found))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    if chosen.svg is not None:
        chosen.svg.write_text(svg(found["cost"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
