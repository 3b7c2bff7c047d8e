"""Embed clips with a trained encoder: one feature vector for each clip.

  skelssl embed checkpoint=outputs/pstl/ntu60_xsub/RUN raw=CLIPS out=features.npz
  skelssl embed checkpoint=EXPORT raw=ARRAYS layout=mediapipe33 fps=25

Clips are what pose tools write, or arrays of joint positions, (frames, joints, 2 or 3) or (frames, persons, joints, 2
or 3). They are mapped to the encoder's joints, resampled to 30 frames a second and preprocessed as the encoder's
training clips were. features.npz contains names and features, to be read with numpy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn

from skelssl.cli.app import run_hydra
from skelssl.core.errors import UserError
from skelssl.core.files import result_file
from skelssl.data.custom.read import read_clips
from skelssl.pretrained.embed import embed
from skelssl.pretrained.index import digest_of
from skelssl.pretrained.load import load_encoder


def main() -> None:
    """Run the command."""
    run_hydra("embed", embed_command)


def embed_command(config: DictConfig) -> None:
    """Embed every clip of ``raw`` and write ``out``; raise UserError for clips or an encoder that cannot be read."""
    out = Path(str(config.out)).expanduser()
    if out.suffix != ".npz" or out.is_dir():
        raise UserError(f"out: found {out}, expected the name of a file that ends in .npz")
    encoder = named_encoder(config)
    clips = read_clips(config.raw, config.format)
    features = embed(clips, encoder, **embed_options(config))
    about = {"encoder": digest_of(encoder), "checkpoint": str(config.checkpoint)}
    with result_file(out) as file:
        np.savez(file, names=np.array(list(clips)), features=features, about=np.array(json.dumps(about)))
    print(f"{len(features)} clips, {features.shape[1]} features each -> {out}")


def named_encoder(config: DictConfig) -> nn.Module:
    """Load the encoder that the keys ``checkpoint``, ``source``, ``representation`` and ``trust`` name."""
    path = Path(str(config.checkpoint)).expanduser()
    if not path.exists():
        raise UserError(f"checkpoint: found nothing at {path}, expected a run folder, an export or a file")
    return load_encoder(path, config.source, config.representation, trust=list(config.trust))


def embed_options(config: DictConfig) -> dict[str, Any]:
    """Return the arguments of ``skelssl.embed`` from the keys of the same names."""
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return {"layout": config.layout, "fps": config.fps, "unit": config.unit, "batch": config.batch, "device": device}


if __name__ == "__main__":
    main()
