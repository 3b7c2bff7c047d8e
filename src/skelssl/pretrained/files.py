"""Write and read encoders on disk: safetensors with config.json, and torch files of other code bases."""

from __future__ import annotations

import hashlib
import pickle
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.core.files import atomic_file, read_json, sha256, write_json
from skelssl.encoders.representations import CONCAT, ConcatL2

WEIGHTS, CONFIG = "encoder.safetensors", "config.json"
FORMAT = 1


def save_encoders(
    encoders: Mapping[str, nn.Module], folder: Path, config: Mapping[str, Any], fingerprint: str | None
) -> None:
    """Write each encoder with what is needed to use it: architecture, recipe, views, layout, probe recipes."""
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
    """Return the block that builds the encoder ``name``; a default one among several is one of those with a name."""
    if "_target_" not in config:
        same = next(n for n, encoder in encoders.items() if n and encoder is encoders[name])
        config = config[same]
    return {key: value for key, value in config.items() if key != "_partial_"}


def read_own(path: Path, representation: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and weights of an encoder that `save_encoders` or an export wrote; raises UserError for others."""
    folder = path.parent if path.name == WEIGHTS else path
    folder = folder / "encoder" if (folder / "encoder").is_dir() else folder
    if not (folder / CONFIG).exists():
        raise UserError(
            f"{path}: found no encoder there, expected a finished run, or source=NAME for a file of another code base"
        )
    if representation:
        parts = {file.parent.name: file for file in weights_files(folder, CONCAT)}
        if representation == CONCAT and len(parts) > 1:
            return concat({name: read_own(file, None) for name, file in parts.items()})
        if representation not in parts:
            raise unknown_representation(representation, parts, path)
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
    """Raise UserError unless every key that a protocol reads is present and of the right type."""
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


def concat(parts: Mapping[str, tuple[dict[str, Any], dict[str, Tensor]]]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Join the configs and weights of several encoders of one run into those of one `ConcatL2`."""
    parts = dict(sorted(parts.items()))
    about = next(iter(parts.values()))[0]
    block = {"_target_": f"{ConcatL2.__module__}.{ConcatL2.__name__}",
             "parts": {name: own["encoder"] for name, (own, _) in parts.items()}}  # fmt: skip
    state = {f"parts.{name}.{key}": value for name, (_, own) in parts.items() for key, value in own.items()}
    return {**about, "encoder": block, "setting": f"{'+'.join(parts)}, {CONCAT}"}, state


def unknown_representation(representation: str, parts: Collection[str], path: Path) -> UserError:
    """Make the error that lists the representations there are."""
    names = [*parts, *([CONCAT] if len(parts) > 1 else [])]
    expected = f"one of {', '.join(names)}" if names else "none, there is a single encoder"
    return UserError(f"representation: found {representation!r}, expected {expected} in {path}")


# --- files of other code bases ---------------------------------------------------------------------------------------


def read_state(path: Path) -> dict[str, Any]:
    """Read a torch file without unpickling code; raises UserError for any other file."""
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


def weights_files(path: Path, representation: str | None = None) -> list[Path]:
    """Return the weight files of what ``load_encoder`` takes: several with ``concat_l2``."""
    if path.is_file():
        return [path]
    folder = path / "encoder" if (path / "encoder").is_dir() else path
    if representation == CONCAT:
        return sorted(folder.glob(f"*/{WEIGHTS}"))
    return [folder / (representation or "") / WEIGHTS]


def weights_digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file's bytes; for several files, that of their concatenated digests."""
    return joint_digest([sha256(file) for file in files])


def joint_digest(digests: Sequence[str]) -> str:
    """Return one digest unchanged; for several, the SHA-256 of their concatenation."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def run_of(path: Path) -> Path:
    """Return the run folder of a path into one: its ``encoder`` folder, or the weights in it."""
    folder = path.parent if path.name == WEIGHTS else path
    inside = folder.name == "encoder" and (folder.parent / "config.yaml").exists()
    return folder.parent if inside else path
