"""Sum the losses of an epoch over clips and ranks, without a step that waits for the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from skelssl.runtime.collectives import gather, rank, world_size
from skelssl.runtime.devices import send


class EpochMeans:
    """Sums of this rank since the epoch began, by name; ``clips`` counts what they are of."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}  # each ()

    def add(self, clips: int, losses: Mapping[str, Tensor]) -> None:
        """Add ``losses``, each a mean () over ``clips`` clips; ``loss`` is among them."""
        values = {**losses, "clips": torch.ones_like(losses["loss"])}
        for name, value in values.items():  # a resumed epoch's sums are on the host
            before = self.sums.get(name)
            self.sums[name] = torch.zeros_like(value) if before is None else send(before.to(value.dtype), value.device)
        sums = [self.sums[name] for name in values]
        torch._foreach_add_(sums, [value.detach() for value in values.values()], alpha=clips)

    def over_ranks(self, device: torch.device) -> dict[str, Tensor]:
        """Return the means () over the clips of all ranks, reduced on ``device``."""
        sums = self._stacked(device)
        if world_size() > 1:
            dist.all_reduce(sums)
        totals = dict(zip(sorted(self.sums), sums, strict=True))
        clips = totals.pop("clips")
        return {name: total / clips for name, total in totals.items()}

    def state(self, device: torch.device) -> dict[str, list[float]]:
        """Return the sums of every rank by name, for a checkpoint; all ranks must call it."""
        sums = gather(self._stacked(device)[None], even=True)  # (W, K)
        return dict(zip(sorted(self.sums), sums.T.tolist(), strict=True))

    def load(self, state: Mapping[str, list[float]]) -> None:
        """Take this rank's sums; the first rank takes all of them where another number of ranks wrote them."""
        for name, values in state.items():
            sums = torch.tensor(values, dtype=torch.float64).reshape(-1)  # (W,)
            if len(sums) == world_size():
                self.sums[name] = sums[rank()]
            else:
                self.sums[name] = sums.sum() if rank() == 0 else sums.new_zeros(())

    def _stacked(self, device: torch.device) -> Tensor:
        """Return (K,) sums in the order of their names; (0,) at the beginning of an epoch."""
        values = [self.sums[name].to(device) for name in sorted(self.sums)]
        return torch.stack(values) if values else torch.zeros(0, device=device)
