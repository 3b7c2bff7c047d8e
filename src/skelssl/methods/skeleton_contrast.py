"""Skeleton-contrast: self-supervised learning by contrasting one skeleton's input representations.

Thoker, Doughty, Snoek, ACM MM 2021, arXiv 2108.03656. A clip is read as a sequence, a graph or an image, each by a
separate network. The query of one representation must find the key of the *other* one among a queue of that other
one's keys. With a single representation this is MoCo v2, the paper's intra-skeleton baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.encoders.representations import NAMES, setting
from skelssl.heads import ContrastHead
from skelssl.losses.info_nce import InfoNCE, unit
from skelssl.methods.base import Method
from skelssl.momentum import Momentum, Queue
from skelssl.runtime.collectives import world_size
from skelssl.runtime.draws import step_generator

LAST = {"seq": "xavier", "graph": "normal", "image": "xavier_zero"}  # start of the head's last layer, per network


class Branch(nn.Module):
    """A network with its projection head: (N, C, T, V, M) -> unit rows (N, dim)."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        return unit(self.head(self.encoder(x)))


class SkeletonContrast(Method):
    """The method as published. ``query``, ``key`` and ``queue`` hold a part for each representation of ``pair``.

    Args:
        mode: ``inter`` contrasts the two representations of ``pair``; ``intra`` is MoCo v2 on the one in it.
        pair: S1 and S2 out of seq, graph and image; S1's encoder is the default one downstream.
        encoder: maker of the network of each representation; those not in ``pair`` are not made.
        momentum: of the key networks, which average parameters but no batch-norm statistics.
    """

    query: Any  # ModuleDict of Branch
    key: Any  # ModuleDict of Momentum, each over a Branch
    queue: Any  # ModuleDict of Queue

    def __init__(
        self,
        *,
        mode: str,
        pair: Sequence[str],
        view: Mapping[str, nn.Module],
        encoder: Mapping[str, Callable[[], nn.Module]],
        head: Callable[..., ContrastHead],
        loss: InfoNCE,
        teacher: Mapping[str, Any],
        queue: Callable[..., Queue],
        optim: Mapping[str, Any],
        seed: int,
    ) -> None:
        super().__init__(view=view, optim=optim, seed=seed)
        self.pair, self.loss, self.momentum = check_pair(mode, pair), loss, momentum_of(teacher)
        self.query, self.key, self.queue = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name in self.pair:
            torch.manual_seed(seed)  # initial weights depend on the seed alone, so that a probe can draw them again
            network: Any = encoder[name]()
            last = head(in_dim=network.dim, last=LAST[name])
            self.query[name] = Branch(network, last)
            self.key[name] = Momentum(self.query[name])
            self.queue[name] = queue(dim=last.dim, generator=step_generator(seed, 0, 0, f"queue {name}"))
        for name in self.pair:
            self.query[name].encoder.setting = setting(self.pair, name, *self.directions())
        self.fresh: dict[str, Tensor] = {}  # keys of this step, not yet in the queues
        self.even = False

    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        """The network of S1."""
        network: nn.Module = self.query[self.pair[0]].encoder
        return network

    def directions(self) -> list[str]:
        """Return the direction of the sequence network, if there is one."""
        return [self.query["seq"].encoder.direction] if "seq" in self.pair else []

    def encoders(self) -> dict[str, nn.Module]:
        return {"": self.encoder, **{name: self.query[name].encoder for name in self.pair}}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        draw = self.generator("clips")
        first, second = self.view(batch, draw), self.view(batch, draw)

        q = {s: self.query[s](first) for s in self.pair}
        for s in self.pair:  # with the queries' weights of before the optimiser's step, and before the keys are made
            self.key[s].update(self.query[s], self.momentum)
        k = {s: self.key[s](second) for s in self.pair}

        # S1's query finds S2's key among the keys of S2, and the reverse; a single representation finds its own.
        others = zip(self.pair, reversed(self.pair), strict=True)
        matches = {s: self.loss(q[s], k[other], self.queue[other].keys) for s, other in others}
        loss: Tensor = torch.stack([match.loss for match in matches.values()]).sum()
        self.fresh = k
        parts = {f"{s}_{name}": value for s, match in matches.items() for name, value in match._asdict().items()}
        self.log_losses(batch, loss=loss, **parts)
        return loss

    def compiled(self) -> list[tuple[nn.Module, str]]:
        """Queries and keys of graph and image; torch's own recurrent kernels are left as they are."""
        names = [name for name in self.pair if name != "seq"]
        return [(part, "forward") for name in names for part in (self.query[name], self.key[name].module)]

    def on_after_backward(self) -> None:
        """Keys enter once the backward pass has used the old ones: none is ever its own negative."""
        for name, keys in self.fresh.items():
            self.queue[name].enqueue(keys, even=self.even)
        self.fresh = {}

    def on_fit_start(self) -> None:
        """Ranks whose batches are always equally long need not tell each other their lengths."""
        loader = getattr(getattr(self.trainer, "datamodule", None), "loader", {})
        self.even = bool(loader.get("drop_last")) and loader["batch"] % world_size() == 0


def check_pair(mode: str, pair: Sequence[str]) -> tuple[str, ...]:
    """Return the representations; raises UserError for a mode that is not known and a pair that does not fit it."""
    wanted = {"inter": 2, "intra": 1}.get(mode)
    if wanted is None:
        raise UserError(f"method.mode: found {mode!r}, expected inter or intra")
    names = [pair] if isinstance(pair, str) else list(pair)
    if len(names) != wanted or len(set(names)) != wanted or not set(names) <= set(NAMES):
        count = "two different ones" if wanted == 2 else "one"
        raise UserError(f"method.pair: found {names}, expected {count} of {', '.join(NAMES)} with mode={mode}")
    return tuple(names)


def momentum_of(teacher: Mapping[str, Any]) -> float:
    """Return the key networks' momentum; raises UserError for anything but a number from 0 to 1."""
    if [*teacher] != ["momentum"]:
        raise UserError(f"method.teacher: found the keys {', '.join(teacher) or 'none'}, expected momentum alone")
    if not isinstance(value := teacher["momentum"], int | float) or not 0 <= value <= 1:
        raise UserError(f"method.teacher.momentum: found {value!r}, expected a number from 0 to 1")
    return float(value)
