"""The decoder of masked skeleton modelling: encoded tokens go back to their places, mask tokens fill the others.

Mao et al., MAMP, ICCV 2023 (arXiv 2308.07092); Xu et al., Skeleton2vec, 2024 (arXiv 2401.00921).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.encoders.blocks import Positions, initialise, stack
from skelssl.encoders.tokens import put_tokens, take_tokens

UNSHUFFLES = ("correct", "flat")


class Decoder(nn.Module):
    """Linear, un-shuffle, own positions, ``depth`` blocks, LayerNorm and a linear head; thrown away after training.

    MAMP's with three blocks has 2,453,004 parameters, with five 4,032,524; Skeleton2vec's (``out=256``, LayerScale)
    2,517,248.

    Args:
        grid: (S, V) of the encoder.
        width_in: width of the encoder.
        out: width of a prediction.
        hidden, depth, heads, mlp_ratio, layer_scale, norm_eps, init: as in the encoder.
        unshuffle: ``correct`` puts each token at its own place. ``flat`` is the fault of Skeleton2vec's development
            code, for a reproduction: tokens fill the first rows of the grid, and each row is then un-shuffled by
            its own order. It needs a mask that leaves equally many joints in all segments.
    """

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        width_in: int,
        out: int,
        hidden: int = 256,
        depth: int = 3,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        norm_eps: float = 1e-5,
        init: str = "xavier",
        unshuffle: str = "correct",
    ) -> None:
        super().__init__()
        if unshuffle not in UNSHUFFLES:
            raise UserError(f"decoder.unshuffle: found {unshuffle!r}, expected one of {', '.join(UNSHUFFLES)}")
        self.grid, self.unshuffle = tuple(grid), unshuffle
        self.embed = nn.Linear(width_in, hidden)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, hidden))
        self.positions = Positions(self.grid, hidden)
        self.blocks = stack(hidden, heads, [0.0] * depth, mlp_ratio=mlp_ratio, layer_scale=layer_scale, eps=norm_eps)
        self.norm, self.head = nn.LayerNorm(hidden, norm_eps), nn.Linear(hidden, out)
        initialise(self, init)

    def forward(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Encoded tokens (B, l, D) of places ``visible`` (B, l) -> predictions (B, L - l, out) for ``hidden``."""
        # Rows that no loss reads need neither the norm nor the head.
        out: Tensor = self.head(self.norm(take_tokens(self.states(tokens, visible, hidden), hidden)))
        return out

    def check_masking(self, masking: object) -> None:
        """Raises UserError where tokens under the masker ``masking`` cannot be un-shuffled as this decoder does it."""
        if self.unshuffle == "flat" and not getattr(masking, "by_segment", False):
            kind = type(masking).__name__
            raise UserError(
                f"decoder.unshuffle: found flat with {kind}, expected correct (flat is defined for tube masks alone)"
            )

    def states(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """What the last block puts out at every place of the grid: (B, L, D)."""
        x = self.fill(self.embed(tokens), visible, hidden)
        for block in self.blocks:
            x = block(x)
        return x

    def fill(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Tokens (B, l, D) at their places, mask tokens at the others, plus positions: (B, L, D)."""
        if self.unshuffle == "flat":
            visible = flat_places(visible, hidden, self.grid[0])
        empty = (self.mask_token + self.positions()).expand(len(tokens), -1, -1)
        return put_tokens(empty, visible, tokens + self.positions(visible))


def flat_places(visible: Tensor, hidden: Tensor, segments: int) -> Tensor:
    """Where the flat un-shuffle puts token i of ``visible`` (B, l): (B, l).

    The reference lists all visible tokens, then all mask tokens, cuts the list into ``segments`` rows, and un-shuffles
    each row by the order of its own joints, visible ones first. Both arguments are segment by segment in that order.

    Raises:
        UserError: a mask that is not made of rows with equally many visible joints, as tube masks are.
    """
    length = visible.shape[1]
    if length % segments == hidden.shape[1] % segments == 0:
        rows = torch.cat([rearrange(part, "b (s v) -> b s v", s=segments) for part in (visible, hidden)], dim=2)
        row = torch.arange(segments, device=rows.device)[:, None]
        if bool((rows // rows.shape[2] == row).all()):
            return rows.flatten(1)[:, :length]
    raise UserError("decoder.unshuffle: found flat, expected correct (flat is defined for tube masks alone)")


def decoder_from_mamp_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Decoder parameters under MAMP's names -> the same under ours; other entries are left out."""
    ours = {"decoder_pos_embed": "positions.space", "decoder_temp_embed": "positions.time"}
    parts = {
        "decoder_blocks.": "blocks.",
        "decoder_norm.": "norm.",
        "decoder_pred.": "head.",
        "decoder_embed.": "embed.",
    }
    found = {}
    for name, value in state.items():
        if name in ours:
            found[ours[name]] = value.flatten(0, 2)
        elif name == "mask_token":
            found[name] = value
        elif prefix := next((p for p in parts if name.startswith(p)), None):
            found[parts[prefix] + name.removeprefix(prefix)] = value
    return found
