"""The joint stream of 2s-AGCN as it was released: every partition on its own, frames outermost.

The modules are those of skelssl, so both forms have the same weights; only the order of the arithmetic differs.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import conv2d

from skelssl.encoders.agcn import AGCN


def encode(encoder: AGCN, x: Tensor) -> Tensor:
    """Clips (N, 3, T, V, 2) -> features (N, D)."""
    n, c, _, v, m = x.shape
    x = encoder.data_bn(rearrange(x, "n c t v m -> n (m v c) t"))
    x = rearrange(x, "n (m v c) t -> (n m) c t v", m=m, v=v, c=c).contiguous()
    for block in encoder.blocks:
        y = temporal(block.tcn1, spatial(block.gcn1, x, encoder.A))
        if block.residual is None:
            x = torch.relu_(y)
        else:
            rest = x if isinstance(block.residual, torch.nn.Identity) else temporal(block.residual, x)  # type: ignore[arg-type]
            x = torch.relu_(y + rest)
    return rearrange(x, "(n m) c t v -> n m c (t v)", n=n).mean(3).mean(1)


def spatial(module: Any, x: Tensor, graph: Tensor) -> Tensor:
    """(B, C, T, V) -> (B, C', T, V)."""
    n, _, t, v = x.shape
    adjacency, y = graph + module.PA, None
    for k in range(len(graph)):
        theta = module.conv_a[k](x).permute(0, 3, 1, 2).reshape(n, v, -1)
        phi = module.conv_b[k](x).reshape(n, -1, v)
        learned = torch.softmax(theta @ phi / theta.shape[-1], dim=-2) + adjacency[k]
        moved = (x.reshape(n, -1, v) @ learned).view(n, -1, t, v)
        z = module.conv_d[k](moved)
        y = z if y is None else y + z
    return torch.relu_(module.bn(y) + module.down(x))


def temporal(module: Any, x: Tensor) -> Tensor:
    """(B, C, T, V) -> (B, C', ⌈T/stride⌉, V)."""
    padding = module.kernel // 2
    if module.kernel == 1:  # see skelssl.encoders.agcn.TemporalConv
        y: Tensor = module.bn(conv2d(x[:, :, :: module.stride].contiguous(), module.conv.weight, module.conv.bias))
        return y
    z: Tensor = module.bn(conv2d(x, module.conv.weight, module.conv.bias, (module.stride, 1), (padding, 0)))
    return z
