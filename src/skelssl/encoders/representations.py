"""Skeleton-contrast's representations: recognition of released files, and features of several encoders at once.

Thoker, Doughty, Snoek, ACM MM 2021 (arXiv 2108.03656). A clip is read as a sequence (`GRU`), a graph (`AGCN`)
or an image (`HCN`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.encoders import agcn, gru, hcn

MODULES = {"seq": gru, "graph": agcn, "image": hcn}
NAMES = (*MODULES,)
CONCAT = "concat_l2"  # in place of a representation: the features of all encoders of a run


def setting(pair: Sequence[str], name: str, direction: str = gru.DIRECTIONS[0]) -> str | None:
    """Return how an encoder differs from the published one, or None; that is the sequence encoder of seq and graph.

    Args:
        pair: representations of the run, one or two of `NAMES`.
        name: representation of the encoder in question, one of ``pair``.
        direction: direction of the run's sequence encoder.

    >>> setting(["seq", "graph"], "seq"), setting(["seq", "image"], "image"), setting(["graph"], "graph")
    (None, 'seq+image, image', 'intra graph')
    >>> setting(["seq", "graph"], "seq", "bidirectional"), setting(["graph"], "graph", "bidirectional")
    ('seq+graph, seq, bidirectional', 'intra graph')
    """
    parts = [f"intra {name}"] if len(pair) == 1 else ["+".join(pair), name]
    if "seq" in pair and direction != gru.DIRECTIONS[0]:
        parts.append(direction)
    return None if parts == ["seq+graph", "seq"] else ", ".join(parts)


def from_released_names(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]] | None:
    """Recognise a released network by its parameter names -> representation, renamed state; None if it is unknown."""
    names = (name for name, module in MODULES.items() if module.recognises(state.keys()))
    return next(((name, MODULES[name].from_reference(state)) for name in names), None)


class ConcatL2(nn.Module):
    """L2-normalised features of several encoders, concatenated: (N, C, T, V, M) -> (N, D_1 + D_2 + …).

    The combination is ours. That of the paper's appendix is not known.

    Args:
        parts: encoders by representation, in the order of their features.
    """

    def __init__(self, *, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        does = {name: getattr(part, "ignores", "removes") for name, part in self.parts.items()}
        self.ignores = ", ".join(f"{name} {verb}" for name, verb in does.items())
        self.dim = sum(cast(int, part.dim) for part in self.parts.values())

    def forward(self, x: Tensor, ignore: Sequence[int] = ()) -> Tensor:
        return torch.cat([F.normalize(part(x, ignore=ignore), dim=1) for part in self.parts.values()], 1)
