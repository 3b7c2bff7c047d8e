"""Export an encoder to files that others can run: safetensors and config, ``torch.export``, ONNX, a model card.

Every graph is compared with the encoder itself before it is kept.
"""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, atomic_folder, write_json
from skelssl.pretrained.attributes import Pretrained
from skelssl.pretrained.files import CONFIG, WEIGHTS, run_of, weights_digest, weights_files
from skelssl.pretrained.load import load_encoder
from skelssl.pretrained.model_card import CARD, model_card
from skelssl.pretrained.preprocess import Preprocessor, collate

FORMATS = ("safetensors", "torch", "onnx")
FILES = {"safetensors": WEIGHTS, "torch": "encoder.pt2", "onnx": "encoder.onnx"}
PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # of the extra ``export``
BATCHES = (1, 2, 5)  # at which a graph is compared with the encoder
TOLERANCE = 1e-4  # largest difference of a feature, over the largest feature where that is above 1


@dataclass(frozen=True)
class Parity:
    """How far the features of a graph are from those of its encoder."""

    format: str
    difference: float  # largest absolute difference of a feature
    largest: float  # largest absolute feature

    @property
    def relative(self) -> float:
        return self.difference / max(1.0, self.largest)


def export_encoder(
    checkpoint: str | Path,
    out: str | Path,
    formats: str | Collection[str] = "all",
    *,
    source: str | None = None,
    representation: str | None = None,
    trust: Collection[str] = (),
) -> Path:
    """Export an encoder into the folder ``out``, which appears complete or not at all, and return the folder.

    ``encoder.safetensors`` with ``config.json`` (always; ``load_encoder`` reads the folder), ``encoder.pt2``, which
    is a ``torch.export`` program (``torch``), ``encoder.onnx`` (``onnx``, needs the extra ``export``), and
    ``MODEL_CARD.md``.
    The graphs take clips as the encoder's test view gives them, (batch, 3, T', V, 2) with any batch, and give (batch,
    D). Recipe and view stay outside of them. An earlier export in ``out`` is replaced.

    Args:
        checkpoint: a run folder, its ``encoder/``, or with ``source`` a file, as ``load_encoder`` takes them.
        out: the folder.
        formats: ``all``, one of safetensors, torch and onnx, or several of them.
        source, representation, trust: as in ``load_encoder``.

    Raises:
        UserError: unknown format, a package that is not installed, a folder of something else, and a graph whose
            features differ from the encoder's by more than 1e-4.
    """
    chosen = chosen_formats(formats)
    folder = Path(out)
    check_out(folder)
    encoder, run = load_encoder(checkpoint, source, representation, trust=trust), run_of(Path(checkpoint))
    digest = weights_digest(weights_files(run, representation))
    with atomic_folder(folder) as temporary:
        parities = write_encoder(encoder, temporary, chosen)
        with atomic_file(temporary / CARD, "w") as file:
            file.write(model_card(encoder, run, digest, input_shape(encoder), [vars(p) for p in parities]))
    return folder


def chosen_formats(formats: str | Collection[str]) -> list[str]:
    """Return the formats to write, safetensors first and always; raises UserError for one unknown or not installed."""
    names = [formats] if isinstance(formats, str) else list(formats)
    if unknown := [name for name in names if name not in (*FORMATS, "all")]:
        raise UserError(f"format: found {unknown[0]!r}, expected all, or some of {', '.join(FORMATS)}")
    chosen = [name for name in FORMATS if name in names or "all" in names or name == FORMATS[0]]
    if "onnx" in chosen:
        for package in PACKAGES:
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise UserError(
                    f"format: found onnx, but no package {package}, expected it: pip install 'skelssl[export]'"
                ) from error
    return chosen


def check_out(folder: Path) -> None:
    """Raise UserError for a path that holds anything but an earlier export."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CARD).exists())):
        raise UserError(f"out: found other things in {folder}, expected a new folder or an earlier export")


def write_encoder(encoder: nn.Module, folder: Path, formats: Sequence[str]) -> list[Parity]:
    """Write weights, config and graphs; return how each graph compares. Raises UserError for one that differs."""
    plain = copy.deepcopy(encoder).cpu().eval()
    state = {key: value.contiguous() for key, value in plain.state_dict().items()}
    with atomic_file(folder / WEIGHTS) as file:
        file.write(save(state))
    write_json(folder / CONFIG, Pretrained.of(encoder).about)
    if formats == ["safetensors"]:
        return []
    plain = plain.float()
    shape = input_shape(encoder)
    program = exported(plain, shape)
    found = []
    if "torch" in formats:
        torch.export.save(program, folder / FILES["torch"])
        graph = torch.export.load(folder / FILES["torch"]).module()
        found.append(parity("torch", plain, graph, shape))
    if "onnx" in formats:
        write_onnx(program, folder / FILES["onnx"], Pretrained.of(encoder).about)
        found.append(parity("onnx", plain, OnnxEncoder(folder / FILES["onnx"]), shape))
    return found


def input_shape(encoder: nn.Module) -> tuple[int, ...]:
    """Return (C, T', V, M) of what the encoder's test view gives for a clip of two seconds."""
    preprocess = Preprocessor(encoder)
    pose = np.abs(
        np.random.default_rng(0).normal(size=(1, 1, len(preprocess.body.joints), 3))
    )  # a confidence is not negative
    ready = preprocess.ready(
        np.repeat(pose, 64, 0) + np.linspace(0, 1, 64)[:, None, None, None], "clip", None, None, "m"
    )
    x = Pretrained.of(encoder).view["test"](collate([ready.x], [0]), None)
    return tuple(x.shape[1:])


def examples(shape: Sequence[int], batch: int) -> Tensor:
    """Draw clips (N, C, T', V, M) from a fixed seed; every second one has one person only."""
    x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
    x[::2, ..., 1:] = 0
    return x


def exported(encoder: nn.Module, shape: Sequence[int]) -> torch.export.ExportedProgram:
    """Trace the encoder, in eval mode on the CPU, as one graph for clips (batch, C, T', V, M) of any batch."""
    batch = torch.export.Dim("batch", min=1, max=2**16)
    with torch.no_grad(), quiet():
        return torch.export.export(encoder, (examples(shape, 3),), dynamic_shapes=({0: batch},))


class OnnxEncoder(nn.Module):
    """An ``encoder.onnx`` on the CPU by onnxruntime: (N, C, T', V, M) -> (N, D)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        runtime: Any = importlib.import_module("onnxruntime")
        self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(None, {"clips": x.numpy()})[0])


def write_onnx(program: torch.export.ExportedProgram, path: Path, about: Any) -> None:
    """Write the program as ONNX with input ``clips`` and output ``features``, whose first axis is called ``batch``."""
    import onnx

    with quiet(), torch.no_grad():
        made = torch.onnx.export(program, dynamo=True, input_names=["clips"], output_names=["features"], verbose=False)
    assert made is not None
    model = made.model_proto
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:  # to set it would clear the size of any other axis
                axis.dim_param = axis.dim_param.replace(symbol, "batch")
    onnx.helper.set_model_props(model, {key: str(about[key]) for key in ("method", "layout", "stream")})
    onnx.checker.check_model(model)
    with atomic_file(path) as file:
        file.write(model.SerializeToString())


def parity(name: str, encoder: nn.Module, graph: nn.Module, shape: Sequence[int]) -> Parity:
    """Compare at every batch of ``BATCHES``; raises UserError where they differ by more than ``TOLERANCE``."""
    with torch.no_grad():
        pairs = [(encoder(x), graph(x)) for x in (examples(shape, n) for n in BATCHES)]
    difference = max(float((wanted - found).abs().max()) for wanted, found in pairs)
    made = Parity(name, difference, max(float(wanted.abs().max()) for wanted, _ in pairs))
    if not made.relative <= TOLERANCE:
        raise UserError(
            f"format={name}: found features that differ by {made.difference:.1e} at a largest feature of "
            f"{made.largest:.1e}, expected the encoder's own to {TOLERANCE}"
        )
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's notes on packages that an encoder does not need and on its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
