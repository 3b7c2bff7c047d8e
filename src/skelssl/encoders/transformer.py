"""The joint space-time transformer of masked skeleton modelling, at the sizes of MAMP, Skeleton2vec and HA-CM.

Mao et al., Masked Motion Predictors are Strong 3D Action Representation Learners, ICCV 2023 (arXiv 2308.07092);
Xu et al., Skeleton2vec, 2024 (arXiv 2401.00921); Yin and Cao, HA-CM, 2024 (arXiv 2409.17951). Every token of a person
attends to all tokens of that person only, and the features of both persons are averaged. There is no class token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from skelssl.core.errors import UserError, check_number
from skelssl.encoders.blocks import Positions, initialise, stack
from skelssl.encoders.poincare import expmap0
from skelssl.encoders.tokens import PERSONS, once_for_absent, patchify, take_tokens
from skelssl.skeleton.layout import load_layout


class Transformer(nn.Module):
    """Strided tokens, factorised position embeddings, ``depth`` blocks and a final LayerNorm.

    MAMP: 120 frames in patches of 4, 6,336,000 parameters. Skeleton2vec: 90 in patches of 3 with ``layer_scale=1e-4``,
    ``norm_eps=1e-6`` and ``init=normal``, 6,339,328 parameters. HA-CM: 72 in patches of 3 with ``joints=outer`` and
    ``curvature=1``, 6,331,904 parameters.

    Args:
        layout: name of the skeleton layout.
        joints: joints with tokens, the V columns of the grid: ``all``, ``outer`` (without the layout's core), or names.
        curvature: c > 0 maps tokens with positions into the Poincaré ball before the first block; null omits the map.
        frames: T' of the input clips, a multiple of ``patch``.
        patch: frames of a segment.
        hidden: width D, a multiple of ``heads``.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        channels: coordinates C of a joint.
        layer_scale: initial value of LayerScale, null for none.
        drop_path: stochastic depth of the last block, growing linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.
        init: of linear layers, ``xavier`` (uniform, with torch's default for the patch layer) or ``normal`` (std 0.02).
        norm_with_head: for layer-wise decay the final norm belongs to the head, otherwise to the last block.

    Raises:
        UserError: a value is out of its range, or a joint or layout is unknown.
    """

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        joints: str | Sequence[str] = "all",
        curvature: float | None = None,
        frames: int = 120,
        patch: int = 4,
        hidden: int = 256,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
        init: str = "xavier",
        norm_with_head: bool = True,
    ) -> None:
        super().__init__()
        self.body = load_layout(layout)
        self.joints = self.body.select(joints)
        if curvature is not None:
            check_number("encoder.curvature", curvature, "null or a number above 0", lambda c: c > 0)
        if patch < 1 or frames < patch or frames % patch:
            raise UserError(f"encoder.frames: found {frames}, expected a multiple of encoder.patch = {patch}")
        self.dim, self.channels, self.frames, self.patch = hidden, channels, frames, patch
        self.grid, self.curvature = (frames // patch, len(self.joints)), curvature
        for name, indices in (("kept", self.joints), ("core", self.body.core)):
            self.register_buffer(name, torch.tensor(indices, dtype=torch.int64), persistent=False)
        self.drop_path, self.norm_with_head = drop_path, norm_with_head
        self.patch_embed = nn.Linear(patch * channels, hidden)
        self.positions = Positions(self.grid, hidden)
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = stack(hidden, heads, rates, mlp_ratio=mlp_ratio, layer_scale=layer_scale, eps=norm_eps)
        self.norm = nn.LayerNorm(hidden, norm_eps)
        initialise(self.blocks if init == "xavier" else self, init)

    kept: Tensor  # (V,) of the layout's joints
    core: Tensor  # (n,) of the layout's joints

    @property
    def length(self) -> int:
        """Return L = S·V, the number of tokens per person."""
        return self.grid[0] * self.grid[1]

    def forward(self, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
        """Encode clips (N, C, T', V, M=2) -> features (N, D), the mean over persons, segments and joints.

        Args:
            x: complete clips with every joint of the layout; an absent person is all zeros and counts in the mean.
            ignore: joints whose tokens are dropped, for all clips of the batch; joints without tokens have no effect.

        Raises:
            UserError: the shape is wrong, a joint is unknown, or no joint is left.
        """
        rest = self._rest(ignore).to(x.device) if ignore else None

        def pooled(patches: Tensor) -> Tensor:
            index = None if rest is None else rest.expand(len(patches), -1)
            return self.encode(self.embed_patches(patches, index)).mean(1)

        return reduce(self._person_by_person(pooled, x), "(n m) d -> n d", "mean", m=PERSONS)

    def tokens(self, x: Tensor) -> Tensor:
        """Encode clips (N, C, T', V, M) -> encoded tokens (N, M, S, V, D)."""
        y = self._person_by_person(lambda patches: self.encode(self.embed_patches(patches)), x)
        return rearrange(y, "(n m) (s v) d -> n m s v d", m=PERSONS, v=self.grid[1])

    def embed(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed clips (N, C, T', V, M) -> all tokens (N·M, L, D), or those at ``visible`` (N·M, l): (N·M, l, D)."""
        return self.embed_patches(self.patches(x), visible)

    def patches(self, x: Tensor) -> Tensor:
        """Cut clips (N, C, T', V, M) into patches (N·M, L, patch·C); raise UserError for another shape."""
        expected = (self.channels, self.frames, len(self.body.joints), PERSONS)
        if x.ndim != 5 or x.shape[1:] != expected:
            c, t, v, m = expected
            raise UserError(f"encoder input: found shape {tuple(x.shape)}, expected (N, {c}, {t}, {v}, {m})")
        return patchify(self.select(x).to(self.patch_embed.weight.dtype), self.patch)

    def select(self, x: Tensor) -> Tensor:
        """Select the joints with tokens from clips (N, C, T', V, M) of the complete layout."""
        return x if len(self.joints) == x.shape[3] else x.index_select(3, self.kept)

    def core_patches(self, x: Tensor) -> Tensor:
        """Cut clips (N, C, T', V, M) into patches (N·M, S·n, patch·C) of the n joints of the layout's core.

        Raises UserError for a layout without a core.
        """
        _ = self.body.trunk
        return patchify(x.index_select(3, self.core).to(self.patch_embed.weight.dtype), self.patch)

    def embed_patches(self, patches: Tensor, index: Tensor | None = None) -> Tensor:
        """Embed patches (B, L, P) -> tokens (B, L, D), or only those at ``index`` (B, l): (B, l, D)."""
        tokens = self.tangent(patches, index)
        return tokens if self.curvature is None else expmap0(tokens, self.curvature)

    def tangent(self, patches: Tensor, index: Tensor | None = None) -> Tensor:
        """Embed patches as `embed_patches` does, but without the map into the ball: tangent vectors at its origin.

        Tokens are gathered before they are embedded, because a token's embedding depends on its own patch only.
        """
        chosen = patches if index is None else take_tokens(patches, index)
        return torch.add(self.patch_embed(chosen), self.positions(index))

    def encode(self, tokens: Tensor) -> Tensor:
        """Pass any subset of tokens (B, l, D) through all blocks and the final norm -> (B, l, D)."""
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out

    def block_outputs(self, tokens: Tensor, last: int | None = None) -> Iterator[Tensor]:
        """Yield the outputs of the ``last`` blocks (all by default), (B, l, D) each, before the final norm.

        They come one at a time, so that a running average need not store them. Raises UserError unless
        1 <= last <= depth.
        """
        depth = len(self.blocks)
        last = depth if last is None else last
        if not 1 <= last <= depth:
            raise UserError(f"encoder blocks to average: found {last}, expected 1 to {depth}")
        return self._outputs(tokens, depth - last)

    def layer_ids(self) -> dict[str, int]:
        """Return the layer of each parameter for layer-wise decay.

        Patches and positions are layer 0, block i is layer i + 1, and a head is layer depth + 1.
        """
        depth = len(self.blocks)

        def layer(name: str) -> int:
            if name.startswith("blocks."):
                return int(name.split(".")[1]) + 1
            return depth + self.norm_with_head if name.startswith("norm.") else 0

        return {name: layer(name) for name, _ in self.named_parameters()}

    def _outputs(self, tokens: Tensor, skip: int) -> Iterator[Tensor]:
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            if i >= skip:
                yield tokens

    def _person_by_person(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        patches = self.patches(x)
        draws = self.training and self.drop_path > 0
        return function(patches) if draws else once_for_absent(function, patches)

    def _rest(self, ignore: Collection[int]) -> Tensor:
        """Return the indices (l,) of the tokens whose joints are not ignored."""
        joints = len(self.body.joints)
        if any(not 0 <= joint < joints for joint in ignore) or set(ignore) >= set(self.joints):
            raise UserError(
                f"encoder ignore: found {sorted(set(ignore))}, expected fewer than {self.grid[1]} joints of 0 to "
                f"{joints - 1}"
            )
        stays = torch.ones(self.grid, dtype=torch.bool)
        stays[:, [v for v, joint in enumerate(self.joints) if joint in ignore]] = False
        return stays.flatten().nonzero().flatten()


def from_mamp_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename encoder parameters from MAMP's names to ours; other names are unchanged."""

    def renamed(name: str, value: Tensor) -> tuple[str, Tensor]:
        if name == "joints_embed.proj.weight":
            return "patch_embed.weight", rearrange(value, "d c l 1 -> d (l c)")
        if name in ("temp_embed", "pos_embed"):
            return f"positions.{'time' if name == 'temp_embed' else 'space'}", value.flatten(0, 2)
        return name.replace("joints_embed.proj", "patch_embed"), value

    return dict(renamed(name, value) for name, value in state.items())
