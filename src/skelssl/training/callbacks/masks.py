"""What a method's masks hide: how much, and whether it is what moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from einops import rearrange
from torch import Tensor

from skelssl.data.module import SkeletonData
from skelssl.methods.base import Method
from skelssl.methods.visualize import MaskedClip
from skelssl.pretrained.features import evaluating, same_random_state
from skelssl.runtime.draws import step_generator
from skelssl.training.callbacks.due import due
from skelssl.views.streams import positions, steps

CLIPS = 8


class MaskMonitor(L.Callback):
    """Logs ``mask/<name>/share`` and ``mask/<name>/motion`` every n-th epoch, means over eight training clips.

    The share is that of what is hidden (joints, frames or tokens of the persons who are there). The motion is that of
    what is hidden over that of everything: 1 for a mask that does not care, more for one that hides what moves.
    """

    def __init__(self, *, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not due(trainer, self.every_n_epochs):
            return
        assert isinstance(module, Method)
        found: dict[str, list[Tensor]] = {}
        data: SkeletonData = trainer.datamodule  # type: ignore[attr-defined]
        for x, shown in masked_clips(module, data, CLIPS):
            for mask in shown:
                if mask.name and (x != 0).any():
                    share, motion = mask_metrics(mask, x, data.dataset.store.coordinates)
                    found.setdefault(f"mask/{mask.name}/share", []).append(share)
                    found.setdefault(f"mask/{mask.name}/motion", []).append(motion)
        module.log_dict({key: float(torch.stack(values).mean()) for key, values in found.items()}, rank_zero_only=True)


def masked_clips(method: Method, data: SkeletonData, count: int) -> Iterator[tuple[Tensor, list[MaskedClip]]]:
    """About ``count`` training clips (1, 3, T, V, M), spread over the set, each with its masks as this epoch's
    generator draws them.
    """
    store, train = data.dataset.store, data.dataset.train
    batch = store.gather(train[:: -(-len(train) // count)])
    weight = next(method.parameters())  # on its device, and as wide
    generator = step_generator(method.seed, method.current_epoch, 0, "shown")
    for i in range(len(batch)):
        x = batch.x[i : i + 1, :, : int(batch.frames[i])].to(weight)
        with untouched(method):
            shown = method.visualize(x, generator)
        yield x, shown


@contextmanager
def untouched(method: Method) -> Iterator[None]:
    """Inside, a method is only looked at: modes, buffers and global random states are as before afterwards."""
    with evaluating(method), same_random_state(method.device), torch.no_grad():
        yield


def mask_metrics(shown: MaskedClip, x: Tensor, coordinates: str = "xyz") -> tuple[Tensor, Tensor]:
    """Share () of what a mask hides of a clip (1, 3, T, V, M), and the motion () of that over the motion of all.

    Motion is the length of the step from the frame before; a clip that stands still has a ratio of 0.
    """
    clip = (x if shown.clip is None else shown.clip)[0].cpu()  # (3, T, V, M)
    there = clip.ne(0).any(0).any(0).any(0)  # (M,)
    joints = _joints(shown, clip.shape[2])
    gone = hidden(shown, clip)[:, joints][..., there].double()
    way = torch.zeros(clip.shape[1:], dtype=torch.float64)
    way[1:] = positions(steps(clip.double()[None], coordinates), coordinates)[0].norm(dim=0)
    way = way[:, joints][..., there]
    motion = (gone * way).sum() / gone.sum().clamp(min=1) / way.mean().clamp(min=1e-12)
    return gone.mean(), motion


def _joints(shown: MaskedClip, v: int) -> list[int]:
    """Those a mask chooses from: beside tokens, dropped joints are ones that the encoder never has."""
    never: Any = shown.dropped_joints if shown.tokens is not None else ()
    return [joint for joint in range(v) if joint not in never]


def hidden(shown: MaskedClip, clip: Tensor) -> Tensor:
    """(T, V, M), True where ``shown`` hides a clip (3, T, V, M)."""
    _, t, v, m = clip.shape
    gone = torch.zeros(t, v, m, dtype=torch.bool)
    gone[:, list(shown.dropped_joints)] = True
    if shown.kept_frames is not None:
        lost = torch.ones(t, dtype=torch.bool)
        lost[list(shown.kept_frames)] = False
        gone[lost] = True
    if shown.tokens is not None:
        tokens = shown.tokens.cpu()
        gone |= rearrange(tokens.repeat_interleave(t // tokens.shape[1], 1), "m t v -> t v m")
    return gone
