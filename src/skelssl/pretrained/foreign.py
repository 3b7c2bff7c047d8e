"""Read encoders that others released, and rename their tensors to ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from skelssl.core.compose import config_dir
from skelssl.core.errors import UserError
from skelssl.encoders import transformer
from skelssl.encoders.representations import CONCAT, from_released_names, setting
from skelssl.pretrained.files import FORMAT, concat, read_state, unknown_representation


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the named tensors of a file, bare or under ``state_dict`` or ``model``."""
    inner = next((state[k] for k in ("state_dict", "model") if isinstance(state.get(k), Mapping)), state)
    return {k: v for k, v in inner.items() if isinstance(v, Tensor)}


def _st_gcn(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Strip ``module.`` or ``encoder.`` from ST-GCN names; ``fc`` is left out."""
    tensors = _tensors(state)
    for prefix in ("module.", "encoder.", "encoder_q."):
        if any(k.startswith(prefix) for k in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: v for k, v in tensors.items() if not k.startswith("fc.")}


def _contrasted(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a pair's query networks as ``seq.…``, ``graph.…`` or ``image.…``: S1 is ``encoder_q``, S2 ``encoder_r``.

    Which is which shows in the names of their parameters. Key networks, queues and heads (``fc``) are left out.
    """
    tensors = {k.removeprefix("module."): v for k, v in _tensors(state).items()}
    found: dict[str, Tensor] = {}
    for prefix in ("encoder_q.", "encoder_r."):
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if network := from_released_names(own):
            name, own = network
            found |= {f"{name}.{k}": v for k, v in own.items()}
    return found


def _masked(state: Mapping[str, Any], more: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Return MAMP's encoder from a pre-training, linear or fine-tuning file, without decoder, mask token and head."""
    tensors = {k.removeprefix("module."): v for k, v in _tensors(state).items()}
    others = ("decoder_", "mask_token", "head.", *more)
    return transformer.from_mamp_names({k: v for k, v in tensors.items() if not k.startswith(others)})


SOURCES: dict[str, Callable[[Mapping[str, Any]], dict[str, Tensor]]] = {
    "pstl": _st_gcn,
    "skeleton_contrast": _contrasted,
    "mamp": _masked,
    "ha_cm": partial(_masked, more=("l1.", "l2.")),  # the frozen bilinear form of its masking
}


def read_foreign(
    path: Path,
    source: str,
    representation: str | None,
    stream: str,
    overrides: Mapping[str, Any],
    method: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and weights of a released file; the arguments are those of `load_encoder`."""
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
        raise unknown_representation(representation, (), path)
    return about, state


def _one_of(
    about: dict[str, Any], state: Mapping[str, Tensor], representation: str | None, path: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Choose one network, or all of them side by side, of a file that holds several; by default the first."""
    names = list(dict.fromkeys(key.partition(".")[0] for key in state))
    if not names:
        raise UserError(f"{path}: found no network of {about['method']} there, expected one under encoder_q")
    parts = {}
    for name in names:
        block = {key: value for key, value in about["encoder"][name].items() if key != "_partial_"}
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        parts[name] = {**about, "encoder": block, "setting": setting(names, name)}, own
    if representation == CONCAT and len(parts) > 1:
        return concat(parts)
    if representation and representation not in parts:
        raise unknown_representation(representation, parts, path)
    return parts[representation or names[0]]


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def foreign_about(
    method: str, stream: str = "joint", body: str = "ntu25", *, encoder: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return ``about`` from ``conf/method/<method>.yaml`` for an encoder without a config, as on NTU RGB+D 60.

    ``encoder`` replaces arguments of a method's only encoder, before others take their values from there.
    """
    ntu60 = OmegaConf.load(config_dir() / "dataset" / "ntu60.yaml")
    config = OmegaConf.create({"dataset": {**ntu60, "layout": body}, "stream": stream, "seed": 0})
    config.method = OmegaConf.load(config_dir() / "method" / f"{method}.yaml")
    config.method.probe = OmegaConf.load(config_dir() / "probe" / f"{method}.yaml")
    if "_target_" in config.method.encoder:
        config.method.encoder.update(encoder or {})
    plain = OmegaConf.to_container(config.method, resolve=True)
    assert isinstance(plain, dict)
    keep = {key: plain[key] for key in ("encoder", "recipe", "view", "probe")}
    return {"format": FORMAT, "method": method, "dataset": None, "stream": stream, "seed": 0, "layout": body,
            "coordinates": "xyz", "data_fingerprint": None, **keep}  # fmt: skip
