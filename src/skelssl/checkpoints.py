"""Encoders on disk: ours (safetensors + config.json), and the files that others released."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from skelssl.data.files import atomic_file, read_json, write_json
from skelssl.entry import config_dir
from skelssl.errors import UserError
from skelssl.skeleton import layout
from skelssl.trust import check_target

WEIGHTS, CONFIG = "encoder.safetensors", "config.json"
FORMAT = 1


def save_encoders(
    encoders: Mapping[str, nn.Module], folder: Path, config: Mapping[str, Any], fingerprint: str | None
) -> None:
    """Writes each encoder with what is needed to use it: architecture, recipe, views, layout, probe recipes."""
    method = config["method"]
    for name, encoder in encoders.items():
        about = {
            "format": FORMAT, "method": method["name"], "dataset": config["dataset"]["name"],
            "stream": config["stream"], "seed": config["seed"], "layout": config["dataset"]["layout"],
            "encoder": method["encoder"][name] if name else method["encoder"], "recipe": method["recipe"],
            "view": method["view"], "probe": method["probe"], "data_fingerprint": fingerprint,
        }  # fmt: skip
        state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
        with atomic_file(folder / name / WEIGHTS) as file:
            file.write(save(state))
        write_json(folder / name / CONFIG, about)


def load_encoder(
    path: str | Path,
    source: str | None = None,
    representation: str | None = None,
    *,
    trust: Collection[str] = (),
    stream: str = "joint",
    **overrides: Any,
) -> nn.Module:
    """An encoder in eval mode: ``(N, 3, T, V, M) -> (N, D)``.

    ``path`` is a run folder, its ``encoder/`` folder, or, with ``source`` (``pstl``), a state dict released elsewhere.
    ``overrides`` replace arguments of the encoder (``hidden=64``). The module carries ``recipe`` (dict), ``view``
    (``probe`` and ``test`` views by name), ``layout`` (Layout), ``probe`` (recipes of the protocols) and ``about``.
    Raises UserError for a file of another format or shape, and for a module outside skelssl and ``trust``.
    """
    path = Path(path)
    about, state = _foreign(path, source, stream) if source else _own(path, representation)
    about = {**about, "encoder": {**about["encoder"], **overrides}}
    encoder = build_encoder(about, trust)
    _load(encoder, state, path)
    return encoder


def build_encoder(about: Mapping[str, Any], trust: Collection[str] = ()) -> nn.Module:
    """The encoder that ``config.json`` describes, freshly drawn from torch's generator."""
    encoder = _build(about["encoder"], trust)
    attributes = {
        "recipe": about["recipe"], "layout": layout(about["layout"]), "probe": about["probe"], "about": dict(about),
        "view": {name: _build(about["view"][name], trust) for name in ("probe", "test")},
    }  # fmt: skip
    for name, value in attributes.items():
        setattr(encoder, name, value)
    return encoder.eval()


def _build(block: Mapping[str, Any], trust: Collection[str]) -> nn.Module:
    check_target(block, trust)
    module: nn.Module = instantiate(dict(block), _convert_="all")
    return module


def _own(path: Path, representation: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder = path.parent if path.name == WEIGHTS else path
    folder = folder / "encoder" if (folder / "encoder").is_dir() else folder
    folder = folder / (representation or "")
    if not (folder / CONFIG).exists():
        raise UserError(
            f"{path}: found no encoder there, expected a finished run, or source=NAME for a file of another code base"
        )
    about = read_json(folder / CONFIG)
    if about.get("format") != FORMAT:
        raise UserError(f"{folder / CONFIG}: found format {about.get('format')}, expected {FORMAT}")
    try:
        return about, load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: cannot be read ({error})") from error


def _load(encoder: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Loads strictly; one sentence names the first tensor that does not fit."""
    own = encoder.state_dict()
    for key in [*own, *state]:
        found, expected = state.get(key), own.get(key)
        if found is None or expected is None or found.shape != expected.shape:
            shapes = ["no such tensor" if t is None else f"shape {tuple(t.shape)}" for t in (found, expected)]
            raise UserError(f"{path}: {key}: found {shapes[0]}, expected {shapes[1]}")
    if all(value.dtype == torch.float64 for value in state.values() if value.is_floating_point()):
        encoder.double()  # a file in double precision keeps it
    encoder.load_state_dict(state)


# --- files of other code bases ---------------------------------------------------------------------------------------


def read_state(path: Path) -> dict[str, Any]:
    """A torch file read without unpickling code; raises UserError where it is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as a torch checkpoint ({reason})") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: found {type(state).__name__}, expected a state dict")
    return state


def _st_gcn(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """ST-GCN names, bare or under ``state_dict``/``model``, behind ``module.`` or ``encoder.``; ``fc`` is left out."""
    inner = next((state[k] for k in ("state_dict", "model") if isinstance(state.get(k), Mapping)), state)
    tensors = {k: v for k, v in inner.items() if isinstance(v, Tensor)}
    for prefix in ("module.", "encoder.", "encoder_q."):
        if any(k.startswith(prefix) for k in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: v for k, v in tensors.items() if not k.startswith("fc.")}


SOURCES: dict[str, Callable[[Mapping[str, Any]], dict[str, Tensor]]] = {"pstl": _st_gcn}


def _foreign(path: Path, source: str, stream: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if source not in SOURCES:
        raise UserError(f"source: found {source!r}, expected one of {', '.join(SOURCES)}")
    if not path.is_file():
        raise UserError(f"{path}: found no file, expected a checkpoint of {source}")
    state = SOURCES[source](read_state(path))
    return foreign_about(source, stream), {k: _widened(v) for k, v in state.items()}


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def foreign_about(method: str, stream: str = "joint", body: str = "ntu25") -> dict[str, Any]:
    """What ``conf/method/<method>.yaml`` says of an encoder that comes without a config of its own."""
    config = OmegaConf.create({"dataset": {"layout": body}, "stream": stream, "seed": 0})
    config.method = OmegaConf.load(config_dir() / "method" / f"{method}.yaml")
    plain = OmegaConf.to_container(config.method, resolve=True)
    assert isinstance(plain, dict)
    keep = {key: plain[key] for key in ("encoder", "recipe", "view", "probe")}
    return {"format": FORMAT, "method": method, "dataset": None, "stream": stream, "seed": 0, "layout": body,
            "data_fingerprint": None, **keep}  # fmt: skip


def weights_file(path: Path, representation: str | None = None) -> Path:
    """The file that holds the weights of what ``load_encoder`` takes."""
    if path.is_file():
        return path
    folder = path / "encoder" if (path / "encoder").is_dir() else path
    return folder / (representation or "") / WEIGHTS
