"""Write ``MODEL_CARD.md`` of an exported encoder: what it is, its training, its results, its input."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from skelssl.core.files import read_json
from skelssl.core.runs import load_config
from skelssl.pretrained.attributes import Pretrained
from skelssl.results.record import KEYS

CARD = "MODEL_CARD.md"
# Sources of the datasets; weights trained on recordings stay under the terms of these.
LICENCES = {
    "ntu": "NTU RGB+D recordings (ROSE Lab, Nanyang Technological University), which are licensed for research: "
    "https://rose1.ntu.edu.sg/dataset/actionRecognition/",
    "pku": "PKU-MMD recordings (Peking University), which are licensed for research: "
    "https://www.icst.pku.edu.cn/struct/Projects/PKUMMD.html",
    "synthetic": "synthetic motion made by skelssl itself; MIT",
}
UNKNOWN = "not known: the encoder came without a run"


def model_card(
    encoder: nn.Module, run: Path, digest: str, shape: Sequence[int], parities: Sequence[Mapping[str, Any]]
) -> str:
    """Return the card as Markdown.

    ``run`` is where the encoder came from, ``digest`` the one of its weights, by which results are known, ``shape``
    (C, T', V, M) of its clips; ``parities`` hold format, difference and largest for each graph.
    """
    about = Pretrained.of(encoder).about
    sections = [
        f"# {about['method']}: an encoder of human skeleton motion",
        _intro(encoder, about),
        _section("Training", _table(_training(about, run))),
        _section("Results", _results(run, digest)),
        _section("Input and output", _input(about, encoder, shape)),
        _section("Files", _files(parities)),
        _section("Licence", _licence(about["dataset"])),
    ]
    return "\n\n".join(sections) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _table(rows: Mapping[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _intro(encoder: nn.Module, about: Mapping[str, Any]) -> str:
    title, paper = _paper(about["method"])
    count = sum(p.numel() for p in encoder.parameters())
    return (
        f"{title}\n{paper}\n\n`{type(encoder).__name__}` with {count:,} parameters, trained without labels: a clip "
        f"becomes {encoder.dim} numbers."
    )


def _paper(method: str) -> tuple[str, str]:
    """Return title and reference from the docstring of the method's file; nothing for a method outside skelssl."""
    try:
        text = importlib.import_module(f"skelssl.methods.{method}").__doc__ or ""
    except ImportError:
        return method, ""
    title, _, rest = text.partition("\n\n")
    reference = re.match(r"(.+?)(?:\. |$)", " ".join(rest.split()))
    return title, f"{reference[1]}." if reference else ""


def _training(about: Mapping[str, Any], run: Path) -> dict[str, Any]:
    facts = read_json(run / "run.json") if (run / "run.json").is_file() else {}
    config = load_config(run) if (run / "config.yaml").is_file() else {}
    wanted = config.get("method", {}).get("optim", {}).get("epochs")
    known = {
        "epochs": f"{facts.get('epochs')} of a schedule of {wanted}, {facts.get('steps')} steps",
        "seconds": facts.get("seconds"), "commit": facts.get("git_commit"),
        "torch": facts.get("versions", {}).get("torch"),
    }  # fmt: skip
    shared = {"method": about["method"], "data set": about["dataset"] or UNKNOWN, "stream": about["stream"],
              "setting": about.get("setting") or "the default one", "seed": about["seed"],
              "data fingerprint": about["data_fingerprint"] or UNKNOWN}  # fmt: skip
    return {**shared, **(known if facts else {"run": UNKNOWN})}


def _results(run: Path, digest: str) -> str:
    found = [read_json(path) for path in sorted(run.glob("eval/*/*/result.json"))]
    rows = [r for r in found if r["checkpoint_sha256"] == digest and set(KEYS) <= r.keys()]
    if not rows:
        return "None in the run folder: nobody has evaluated this encoder there."
    head = ("protocol", "data set", "mode", "setting", "seed", "top-1 %", "random init %", "test clips")
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for r in rows:
        cells = (r["protocol"], r["dataset"], r["mode"], r["setting"] or "", r["seed"], _percent(r["top1"]),
                 _percent(r["random_init_top1"]), r["n_test"])  # fmt: skip
        lines.append(" | ".join(map(str, cells)))
    table = "\n".join(f"| {line} |" for line in lines)
    return f"{table}\n\nOf the last epoch. Random init is the same network untrained, under the same protocol."


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _input(about: Mapping[str, Any], encoder: nn.Module, shape: Sequence[int]) -> str:
    c, t, v, m = shape
    coordinates = "x, y, confidence" if about.get("coordinates") == "xyc" else "x, y, z in metres, y up"
    joints = ", ".join(f"{i} {name}" for i, name in enumerate(Pretrained.of(encoder).layout.joints))
    blocks = {"recipe": about["recipe"], "view": about["view"]["test"]}
    return "\n\n".join([
        f"Input `clips` (batch, {c}, {t}, {v}, {m}) float32: {coordinates}; {t} frames; {v} joints of layout "
        f"`{about['layout']}`; {m} persons, an absent one is zeros. Output `features` (batch, "
        f"{encoder.dim}) float32, not normalised.",
        f"Joints: {joints}.",
        "The graphs begin after the preprocessing, which `skelssl.embed` does and others must do themselves: the "
        "recipe once per clip, then the test view.",
        f"```json\n{json.dumps(blocks, indent=2)}\n```",
    ])  # fmt: skip


def _files(parities: Sequence[Mapping[str, Any]]) -> str:
    lines = ["`encoder.safetensors` with `config.json`: for `skelssl.load_encoder(FOLDER)`."]
    names = {"torch": "`encoder.pt2`: `torch.export.load(FILE).module()`.", "onnx": "`encoder.onnx`: for onnxruntime."}
    for parity in parities:
        lines.append(
            f"{names[parity['format']]} Largest difference from the encoder at batches of 1, 2 and 5: "
            f"{parity['difference']:.1e}, at a largest feature of {parity['largest']:.1e}."
        )
    return "\n".join(f"* {line}" for line in lines)


def _licence(dataset: str | None) -> str:
    source = next((text for name, text in LICENCES.items() if (dataset or "").startswith(name)), None)
    trained = source or "recordings whose licence skelssl does not know; whoever trained it has to say"
    return f"The code that made these files is MIT. The weights were trained on {trained}."
