"""Encoders on disk: ours (safetensors + config.json), and the files that others released."""

from __future__ import annotations

import pickle
from argparse import Namespace
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, read_json, write_json
from skelssl.encoders import transformer
from skelssl.encoders.representations import CONCAT, ConcatL2, from_reference, setting
from skelssl.skeleton.layout import load_layout
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
            "coordinates": config["dataset"].get("coordinates", "xyz"),
            "setting": getattr(encoder, "setting", None), "encoder": _block(method["encoder"], encoders, name),
            "recipe": method["recipe"],
            "view": method["view"], "probe": method["probe"], "data_fingerprint": fingerprint,
        }  # fmt: skip
        state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
        with atomic_file(folder / name / WEIGHTS) as file:
            file.write(save(state))
        write_json(folder / name / CONFIG, about)


def _block(config: Mapping[str, Any], encoders: Mapping[str, nn.Module], name: str) -> dict[str, Any]:
    """What builds the encoder ``name``; where the method has several, the default one is one of those with a name."""
    if "_target_" not in config:
        same = next(n for n, encoder in encoders.items() if n and encoder is encoders[name])
        config = config[same]
    return {key: value for key, value in config.items() if key != "_partial_"}


def load_encoder(
    path: str | Path,
    source: str | None = None,
    representation: str | None = None,
    *,
    method: Mapping[str, Any] | None = None,
    trust: Collection[str] = (),
    stream: str = "joint",
    **overrides: Any,
) -> nn.Module:
    """An encoder in eval mode: ``(N, 3, T, V, M) -> (N, D)``.

    ``path`` is a run folder, its ``encoder/`` folder, or, with ``source`` (one of ``SOURCES``), a state dict
    released elsewhere. Such a file has the recipe, views and probes of ``method``, a resolved method block, else those
    of its source for NTU RGB+D 60. ``representation`` picks one encoder of several (``seq``, ``graph``, ``image``), or
    all of them with ``concat_l2``: their features, each of length 1, side by side.
    ``overrides`` replace arguments of the encoder (``hidden=64``); the views of a file from elsewhere follow them
    (``frames=120``) where ``method`` does not give them. The module carries ``recipe`` (dict), ``view``
    (``probe`` and ``test`` views by name), ``layout`` (Layout), ``coordinates`` (xyz or xyc), ``probe`` (recipes of the
    protocols) and ``about``.
    Raises UserError for a file of another format or shape, and for a module outside skelssl and ``trust``.
    """
    path = Path(path)
    if source:
        about, state = _foreign(path, source, representation, stream, overrides, method)
    else:
        about, state = _own(path, representation)
    about = {**about, "encoder": {**about["encoder"], **overrides}}
    encoder = build_encoder(about, trust)
    _load(encoder, state, path)
    return encoder


def build_encoder(about: Mapping[str, Any], trust: Collection[str] = ()) -> nn.Module:
    """The encoder that ``config.json`` describes, freshly drawn from torch's generator."""
    encoder = _build(about["encoder"], trust)
    attributes = {
        "recipe": about["recipe"], "layout": load_layout(about["layout"]),
        "coordinates": about.get("coordinates", "xyz"), "probe": about["probe"], "about": dict(about),
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
    if not (folder / CONFIG).exists():
        raise UserError(
            f"{path}: found no encoder there, expected a finished run, or source=NAME for a file of another code base"
        )
    if representation:
        parts = {file.parent.name: file for file in weights_files(folder, CONCAT)}
        if representation == CONCAT and len(parts) > 1:
            return _concat({name: _own(file, None) for name, file in parts.items()})
        if representation not in parts:
            raise _unknown(representation, parts, path)
        folder = folder / representation
    about = read_json(folder / CONFIG)
    if about.get("format") != FORMAT:
        raise UserError(f"{folder / CONFIG}: found format {about.get('format')}, expected {FORMAT}")
    _check_about(about, folder / CONFIG)
    try:
        return about, load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: cannot be read ({error})") from error


def _check_about(about: Mapping[str, Any], path: Path) -> None:
    """Raises UserError unless everything that a protocol reads is there, and of the right kind."""
    blocks, texts = ("encoder", "recipe", "view", "probe"), ("method", "stream", "layout")
    kinds = {**dict.fromkeys(blocks, Mapping), **dict.fromkeys(texts, str), "seed": int}
    for key, kind in kinds.items():
        if not isinstance(found := about.get(key), kind):
            raise UserError(f"{path}: {key}: found {found!r}, expected what skelssl writes there ({kind.__name__})")
    for key in ("dataset", "data_fingerprint"):
        if key not in about:
            raise UserError(f"{path}: {key}: found nothing, expected what skelssl writes there")
    for name in ("probe", "test"):
        if not isinstance(about["view"].get(name), Mapping):
            raise UserError(f"{path}: view.{name}: found {about['view'].get(name)!r}, expected the view of that name")


def _concat(parts: Mapping[str, tuple[dict[str, Any], dict[str, Tensor]]]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Several encoders of one run as one."""
    parts = dict(sorted(parts.items()))
    about = next(iter(parts.values()))[0]
    block = {"_target_": f"{ConcatL2.__module__}.{ConcatL2.__name__}",
             "parts": {name: own["encoder"] for name, (own, _) in parts.items()}}  # fmt: skip
    state = {f"parts.{name}.{key}": value for name, (_, own) in parts.items() for key, value in own.items()}
    return {**about, "encoder": block, "setting": f"{'+'.join(parts)}, {CONCAT}"}, state


def _unknown(representation: str, parts: Collection[str], path: Path) -> UserError:
    names = [*parts, *([CONCAT] if len(parts) > 1 else [])]
    expected = f"one of {', '.join(names)}" if names else "none, there is a single encoder"
    return UserError(f"representation: found {representation!r}, expected {expected} in {path}")


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
        with torch.serialization.safe_globals([Namespace]):  # many training scripts save their options; it runs no code
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if reason.startswith("Weights only load failed"):  # torch goes on to advise what would run the file's code
            reason = "it is none, or holds more than tensors and plain values"
        raise UserError(f"{path}: cannot be read as a torch checkpoint ({reason})") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: found {type(state).__name__}, expected a state dict")
    return state


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The named tensors of a file, bare or under ``state_dict`` or ``model``."""
    inner = next((state[k] for k in ("state_dict", "model") if isinstance(state.get(k), Mapping)), state)
    return {k: v for k, v in inner.items() if isinstance(v, Tensor)}


def _st_gcn(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """ST-GCN names, behind ``module.`` or ``encoder.``; ``fc`` is left out."""
    tensors = _tensors(state)
    for prefix in ("module.", "encoder.", "encoder_q."):
        if any(k.startswith(prefix) for k in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: v for k, v in tensors.items() if not k.startswith("fc.")}


def _contrasted(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Query networks of a pair as ``seq.…``, ``graph.…`` or ``image.…``: S1 is ``encoder_q``, S2 ``encoder_r``.

    Which is which shows in the names of their parameters. Key networks, queues and heads (``fc``) are left out.
    """
    tensors = {k.removeprefix("module."): v for k, v in _tensors(state).items()}
    found: dict[str, Tensor] = {}
    for prefix in ("encoder_q.", "encoder_r."):
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if network := from_reference(own):
            name, own = network
            found |= {f"{name}.{k}": v for k, v in own.items()}
    return found


def _masked(state: Mapping[str, Any], more: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """MAMP's encoder out of a pre-training, linear or fine-tuning file; decoder, mask token and head are left out."""
    tensors = {k.removeprefix("module."): v for k, v in _tensors(state).items()}
    others = ("decoder_", "mask_token", "head.", *more)
    return transformer.from_reference({k: v for k, v in tensors.items() if not k.startswith(others)})


SOURCES: dict[str, Callable[[Mapping[str, Any]], dict[str, Tensor]]] = {
    "pstl": _st_gcn,
    "skeleton_contrast": _contrasted,
    "mamp": _masked,
    "ha_cm": partial(_masked, more=("l1.", "l2.")),  # the frozen bilinear form of its masking
}


def _foreign(
    path: Path,
    source: str,
    representation: str | None,
    stream: str,
    overrides: Mapping[str, Any],
    method: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if source not in SOURCES:
        raise UserError(f"source: found {source!r}, expected one of {', '.join(SOURCES)}")
    if not path.is_file():
        raise UserError(f"{path}: found no file, expected a checkpoint of {source}")
    state = {k: _widened(v) for k, v in SOURCES[source](read_state(path)).items()}
    about = foreign_about(source, stream, encoder=overrides)
    if method:
        keep = ("recipe", "view", "probe", *(["encoder"] if method["name"] == source else []))
        about |= {"method": method["name"], **{key: method[key] for key in keep}}
    if "_target_" not in about["encoder"]:
        return _one_of(about, state, representation, path)
    if representation:
        raise _unknown(representation, (), path)
    return about, state


def _one_of(
    about: dict[str, Any], state: Mapping[str, Tensor], representation: str | None, path: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One network, or all of them side by side, of a file that holds several; by default the first."""
    names = list(dict.fromkeys(key.partition(".")[0] for key in state))
    if not names:
        raise UserError(f"{path}: found no network of {about['method']} there, expected one under encoder_q")
    parts = {}
    for name in names:
        block = {key: value for key, value in about["encoder"][name].items() if key != "_partial_"}
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        parts[name] = {**about, "encoder": block, "setting": setting(names, name)}, own
    if representation == CONCAT and len(parts) > 1:
        return _concat(parts)
    if representation and representation not in parts:
        raise _unknown(representation, parts, path)
    return parts[representation or names[0]]


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def foreign_about(
    method: str, stream: str = "joint", body: str = "ntu25", *, encoder: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What ``conf/method/<method>.yaml`` says of an encoder that comes without a config of its own, for NTU-60.

    ``encoder`` replaces arguments of a method's only encoder, before others take their values from there.
    """
    ntu60 = OmegaConf.load(config_dir() / "dataset" / "ntu60.yaml")
    config = OmegaConf.create({"dataset": {**ntu60, "layout": body}, "stream": stream, "seed": 0})
    config.method = OmegaConf.load(config_dir() / "method" / f"{method}.yaml")
    if "_target_" in config.method.encoder:
        config.method.encoder.update(encoder or {})
    plain = OmegaConf.to_container(config.method, resolve=True)
    assert isinstance(plain, dict)
    keep = {key: plain[key] for key in ("encoder", "recipe", "view", "probe")}
    return {"format": FORMAT, "method": method, "dataset": None, "stream": stream, "seed": 0, "layout": body,
            "coordinates": "xyz", "data_fingerprint": None, **keep}  # fmt: skip


def weights_files(path: Path, representation: str | None = None) -> list[Path]:
    """The files that hold the weights of what ``load_encoder`` takes: several with ``concat_l2``."""
    if path.is_file():
        return [path]
    folder = path / "encoder" if (path / "encoder").is_dir() else path
    if representation == CONCAT:
        return sorted(folder.glob(f"*/{WEIGHTS}"))
    return [folder / (representation or "") / WEIGHTS]
