"""The decoder of masked skeleton modelling: encoded tokens return to their grid positions, mask tokens fill the rest.

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
    """Linear, un-shuffle, separate position embeddings, ``depth`` blocks, LayerNorm and a linear head.

    It is discarded after pre-training. MAMP's has 2,453,004 parameters with three blocks and 4,032,524 with five.
    Skeleton2vec's (``out=256``, LayerScale) has 2,517,248.

    Args:
        grid: (S, V) of the encoder.
        width_in: feature width D of the encoder.
        out: width of a prediction.
        hidden, depth, heads, mlp_ratio, layer_scale, norm_eps, init: as in the encoder.
        unshuffle: ``correct`` puts each token at its grid position. ``flat`` reproduces a bug of Skeleton2vec's
            development code: tokens fill the first rows of the grid, and each row is then un-shuffled by its own
            order. It requires a mask with equally many visible joints in all segments.

    Raises:
        UserError: an unknown ``unshuffle`` or ``init``, or ``hidden`` is not a multiple of ``heads``.
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
        """Predict the masked tokens.

        Args:
            tokens: (B, l, D) encoded visible tokens.
            visible: (B, l) grid indices of ``tokens``.
            hidden: (B, L - l) grid indices of the masked tokens.

        Returns:
            (B, L - l, out), one prediction per masked token.
        """
        # The loss reads masked tokens only, so the norm and the head skip the others.
        out: Tensor = self.head(self.norm(take_tokens(self.states(tokens, visible, hidden), hidden)))
        return out

    def check_masking(self, masking: object) -> None:
        """Raise UserError if this decoder cannot un-shuffle the tokens of the masker ``masking``."""
        if self.unshuffle == "flat" and not getattr(masking, "by_segment", False):
            kind = type(masking).__name__
            raise UserError(
                f"decoder.unshuffle: found flat with {kind}, expected correct (flat is defined for tube masks alone)"
            )

    def states(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return the output of the last block at every position of the grid, (B, L, D); arguments as in `forward`."""
        x = self.fill(self.embed(tokens), visible, hidden)
        for block in self.blocks:
            x = block(x)
        return x

    def fill(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return tokens (B, l, D) at their positions and mask tokens elsewhere, plus position embeddings: (B, L, D)."""
        if self.unshuffle == "flat":
            visible = flat_places(visible, hidden, self.grid[0])
        empty = (self.mask_token + self.positions()).expand(len(tokens), -1, -1)
        return put_tokens(empty, visible, tokens + self.positions(visible))


def flat_places(visible: Tensor, hidden: Tensor, segments: int) -> Tensor:
    """Return the grid index (B, l) at which the flat un-shuffle puts each token of ``visible`` (B, l).

    The reference lists all visible tokens, then all mask tokens, cuts the list into ``segments`` rows, and un-shuffles
    each row by the order of its own joints, visible ones first. ``visible`` and ``hidden`` are listed segment by
    segment in that order.

    Raises:
        UserError: the segments of the mask do not have equally many visible joints, as those of a tube mask do.
    """
    length = visible.shape[1]
    if length % segments == hidden.shape[1] % segments == 0:
        rows = torch.cat([rearrange(part, "b (s v) -> b s v", s=segments) for part in (visible, hidden)], dim=2)
        row = torch.arange(segments, device=rows.device)[:, None]
        if bool((rows // rows.shape[2] == row).all()):
            return rows.flatten(1)[:, :length]
    raise UserError("decoder.unshuffle: found flat, expected correct (flat is defined for tube masks alone)")


def decoder_from_mamp_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename decoder parameters from MAMP's names to ours; other entries are dropped."""
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
