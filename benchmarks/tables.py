"""Markdown of a result of the suite: ``python -m benchmarks.tables benchmarks/results/FILE.json``.

``--into DOC.md`` fills a document instead, so that no value is typed by hand: the tables of a result stand there
between ``<!-- tables: FILE.json -->`` (or ``FILE.json, Title``, for some of them) and ``<!-- end of tables -->``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

FORMS = ("straightforward", "ours")
END = "<!-- end of tables -->"
MARKS = re.compile(rf"(<!-- tables: ([^,\n]+?)(?:, ([^\n]+?))? -->\n).*?({END})", re.DOTALL)
BOUND = 0.5  # less than this fraction of a part's time explained by any of the three: none of them bounds it
GIB, MIB = 2**30, 2**20


def markdown(found: dict[str, Any], titles: Collection[str] = ()) -> str:
    """The tables of a result, or those under ``titles`` alone; the machine stands before them."""
    sections: dict[str, str] = {}
    if methods := found.get("methods"):
        sections["Steps"] = "\n\n".join(text for text in (steps(methods), memory(methods)) if text)
        sections["Parts of a step"] = by_part(methods)
        where = (remaining(methods, found["about"]["rates"]), operations(methods))
        sections["Where the remaining time goes"] = "\n\n".join(text for text in where if text)
        sections["Under torch.compile"] = compiled(methods)
    for key, title, text in (("data", "Input, one worker on one core", data),
                             ("linear", "Linear evaluation", linear), ("cost", "Cost over size", cost)):  # fmt: skip
        if key in found:
            sections[title] = text(found[key])
    chosen = {title: text for title, text in sections.items() if text and (not titles or title in titles)}
    return "\n\n".join([facts(found["about"]), *(f"### {title}\n\n{text}" for title, text in chosen.items())])


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    """A pipe table, its first ``left`` columns left-aligned."""
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *rows))


def facts(about: dict[str, Any]) -> str:
    """A sentence about the machine."""
    rates, where = about["rates"], about.get("gpu", about["cpu"])
    warning = " Tiny networks: these values say nothing about speed." if about["small"] else ""
    return (
        f"{where}, {about['cores']} cores, {about['threads']} threads, torch {about['torch']}, {about['date']}, commit "
        f"{(about['commit'] or 'unknown')[:9]}. A square float32 product reaches {rates['flops'] / 1e9:.0f} GFLOP/s, a "
        f"copy {rates['bytes'] / 1e9:.1f} GB/s, an operation on one number takes {rates['calls'] * 1e6:.1f} µs."
        + warning
    )


def span(s: dict[str, float]) -> str:
    """Median and quartiles."""
    return f"{short(s['median'])} ({short(s['q1'])} to {short(s['q3'])})"


def short(seconds: float) -> str:
    """Seconds with three digits, small ones in ms."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def steps(methods: dict[str, Any]) -> str:
    """Whole steps of both forms."""
    rows = []
    for name, m in methods.items():
        naive, ours = (m["seconds"][form]["step"] for form in FORMS)
        rows.append([f"`{name}`", m["batch"], span(naive), span(ours), f"**{naive['median'] / ours['median']:.2f}x**",
                     f"{m['batch'] / naive['median']:.3g}", f"{m['batch'] / ours['median']:.3g}"])  # fmt: skip
    head = ["step", "clips", "naive", "ours", "ratio", "clips/s naive", "clips/s ours"]
    return table(head, rows)


def memory(methods: dict[str, Any]) -> str:
    """Peak memory of steps and of losses alone."""
    rows = []
    for name, m in methods.items():
        if "memory" in m:
            naive, ours = (m["memory"][form] for form in FORMS)
            rows.append([f"`{name}`", m["batch"], *(f"{x['step'] / GIB:.2f} GiB" for x in (naive, ours)),
                         f"{ours['step'] / naive['step']:.2f}", *(f"{x['loss'] / MIB:.1f} MiB" for x in (naive, ours)),
                         f"{ours['loss'] / naive['loss']:.2f}"])  # fmt: skip
    head = ["peak memory", "clips", "step, naive", "step, ours", "ratio", "loss alone, naive",
            "loss alone, ours", "ratio"]  # fmt: skip
    return table(head, rows) if rows else ""


def both_passes(part: dict[str, dict[str, float]], key: str) -> float:
    return sum(way[key] for way in part.values())


def by_part(methods: dict[str, Any]) -> str:
    """Forward and backward seconds of each part, both forms."""
    rows = []
    for name, m in methods.items():
        naive, ours = (m["parts"][form] for form in FORMS)
        for part in ours:
            cells = [short(own[part][way]["seconds"]) if way in own.get(part, {}) else ""
                     for way in ("forward", "backward") for own in (naive, ours)]  # fmt: skip
            before, after = (both_passes(own.get(part, {}), "seconds") for own in (naive, ours))
            rows.append([f"`{name}`", part, *cells, f"{before / after:.2f}x" if before > 0 and after > 0 else ""])
    head = ["method", "part", "forward, naive", "ours", "backward, naive", "ours", "ratio"]
    return table(head, rows, left=2)


def needs(part: dict[str, dict[str, float]], rates: dict[str, float]) -> dict[str, float]:
    """Share of a part's time that each of three bounds would take by itself."""
    seconds = both_passes(part, "seconds") or 1e-12
    return {
        "products": both_passes(part, "flops") / rates["flops"] / seconds,
        "memory traffic": both_passes(part, "bytes") / rates["bytes"] / seconds,
        "calls": both_passes(part, "calls") * rates["calls"] / seconds,
    }


def remaining(methods: dict[str, Any], rates: dict[str, float]) -> str:
    """Where our steps spend their time."""
    rows = []
    for name, m in methods.items():
        whole = m["seconds"]["ours"]["step"]["median"]
        parts = m["parts"]["ours"]
        keys, passes = ("flops", "bytes", "calls", "seconds"), ("forward", "backward")
        every = {way: {key: sum(p[way][key] for p in parts.values() if way in p) for key in keys} for way in passes}
        every["forward"]["seconds"], every["backward"]["seconds"] = whole, 0  # on a GPU the parts' waits add to theirs
        for part, own in (*parts.items(), ("whole step", every)):
            share = needs(own, rates)
            largest = max(share, key=share.__getitem__)
            bound = largest if share[largest] >= BOUND else f"mixed, most {largest}"
            if (of_step := both_passes(own, "seconds") / whole) >= 0.005:
                rows.append([f"`{name}`", part, f"{of_step:.1%}", f"{both_passes(own, 'flops') / 1e9:.4g}",
                             *(f"{v:.0%}" for v in share.values()), bound])  # fmt: skip
    head = ["method", "part of ours", "of the step", "GFLOP", "products", "memory traffic", "calls", "bound by"]
    return table(head, rows, left=2)


def compiled(methods: dict[str, Any]) -> str:
    """Steps with and without torch.compile."""
    rows = []
    for name, m in methods.items():
        if "compiled" in m:
            plain = [m["seconds"][form]["step"]["median"] for form in FORMS]
            fast = [m["compiled"][form]["seconds"]["step"]["median"] for form in FORMS]
            first = [m["compiled"][form]["first_step"] for form in FORMS]
            ratio = f"{fast[0] / fast[1]:.2f}x"
            rows.append([f"`{name}`", m["batch"], *map(short, (*plain, *fast)), ratio, *map(short, first)])
    head = ["step", "clips", "naive, plain", "ours, plain", "naive, compiled",
            "ours, compiled", "ratio of compiled", "first step, naive", "first step, ours"]  # fmt: skip
    return table(head, rows) if rows else ""


def operations(methods: dict[str, Any]) -> str:
    """What takes longest in our steps: operations, on a GPU kernels."""
    rows = [
        [f"`{name}`", ", ".join(f"{o['name'][:60]} {o['share']:.0%}" for o in m["operations"]["ours"])]
        for name, m in methods.items()
        if m.get("operations", {}).get("ours")
    ]
    return table(["step of ours", "fraction of the time of all operations"], rows, left=2) if rows else ""


def data(found: dict[str, Any]) -> str:
    """Clips a second of input, and what the fastest step known eats."""
    rows = [
        [f"`{name}`", f"{d['frames']:.0f}", *(f"{d['clips_per_second'][form]:,.0f}" for form in FORMS),
         f"{d['clips_per_second']['ours'] / d['clips_per_second']['straightforward']:.1f}x",
         f"{d['read_only']:,.0f}", d["fastest_step"] or ""]
        for name, d in found.items()
    ]  # fmt: skip
    head = ["method", "frames of a clip", "read and view, naive: clips/s", "ours: clips/s", "ratio",
            "ours, read alone: clips/s", "fastest step known: clips/s"]  # fmt: skip
    return table(head, rows)


def linear(found: dict[str, Any]) -> str:
    """Cached against encoded in every epoch."""
    s = found["seconds"]
    row = [found["clips"], found["test_clips"], found["epochs"], short(s["straightforward_epoch"]),
           found["straightforward_epochs"], short(s["straightforward"]), short(s["features"]), short(s["probe"]),
           f"**{s['straightforward'] / s['ours']:.1f}x**"]  # fmt: skip
    head = ["training clips", "test clips", "epochs", "an epoch, naive", "epochs timed",
            "naive, extrapolated from these", "ours: features", "ours: all epochs", "ratio"]  # fmt: skip
    return table(head, [row], left=0)


def cost(found: dict[str, Any]) -> str:
    """Exponents of the step's time over each size."""
    rows = []
    for name, axes in found.items():
        for axis, curve in axes.items():
            pairs = ", ".join(f"{x:g}: {short(y)}" for x, y in zip(curve["x"], curve["seconds"], strict=True))
            low, high = curve["range"]
            rows.append([f"`{name}`", axis, f"{curve['exponent']:.2f} ({low:.2f} to {high:.2f})", pairs])
    figure = "![Seconds of a step over each of its sizes, one line for each method](figures/cost.svg)"
    return figure + "\n\n" + table(["method", "over", "exponent", "seconds of a step"], rows, left=2)


def filled(doc: str, root: Path) -> str:
    """``doc`` with the tables of every result under ``root`` that it has marks for; those without a file stay empty."""

    def tables(mark: re.Match[str]) -> str:
        path, titles = root / mark[2], (mark[3] or "").split(", ") if mark[3] else ()
        text = f"\n{markdown(json.loads(path.read_text('utf-8')), titles)}\n\n" if path.exists() else ""
        return f"{mark[1]}{text}{mark[4]}"

    return MARKS.sub(tables, doc)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    if (options.results is None) == (options.into is None):
        parser.error("expected either a result or --into with a document")
    if options.into is None:
        print(markdown(json.loads(options.results.read_text("utf-8"))))
    else:
        root = Path(__file__).parents[1]
        options.into.write_text(filled(options.into.read_text("utf-8"), root), "utf-8")


if __name__ == "__main__":
    main()
