"""Turn clips into players: as recorded, under each recipe, and with the views and masks of pre-training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import get_class, instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from skelssl.core.errors import UserError
from skelssl.core.runs import load_config
from skelssl.data.clip import RAW, RECIPES_OF_FORM, EmptyClip, RawClip
from skelssl.data.recipes import RECIPES, RecipeConfig
from skelssl.pages.figures.embedding import Embedding, principal_plane
from skelssl.pages.figures.player import PlayerClip

if TYPE_CHECKING:
    from torch import Tensor

    from skelssl.data.store import RecipeStore
    from skelssl.methods.base import Method
    from skelssl.methods.visualize import MaskedClip
    from skelssl.pretrained.features import Features

VISIBLE = 0.01  # metres
PERSONS = "first person", "second person"


def recorded_player(clip: RawClip, *, flat: bool = False) -> PlayerClip:
    """Return all bodies in the order of their first appearance in the file, each with its id."""
    ids, first, body = np.unique(clip.body_id, return_index=True, return_inverse=True)
    order = np.argsort(first)
    x = np.zeros((clip.n_frames, len(ids), *clip.bodies.shape[1:]), np.float32)
    x[np.repeat(np.arange(clip.n_frames), np.diff(clip.frame_ptr)), np.argsort(order)[body]] = clip.bodies
    listed = clip.form in RECIPES_OF_FORM  # by place alone
    names = [str(i) if clip.form == RAW else f"place {i + 1}" if listed else PERSONS[i] for i in ids[order]]
    return _player("recorded", x, flat=flat, bodies=names, note=f"{clip.n_frames} frames")


def recipe_players(clip: RawClip, layout: str, dataset: Mapping[str, Any]) -> tuple[list[PlayerClip], dict[str, str]]:
    """Return a player per recipe, two where faithful and fixed differ visibly; and why a recipe cannot use the clip.

    ``dataset`` is the block of the configuration, which knows how the published files of a recipe were made.
    """
    shown: list[PlayerClip] = []
    refused: dict[str, str] = {}
    for name in RECIPES:
        made: dict[bool, NDArray[np.float32]] = {}
        reasons: dict[bool, str] = {}
        for faithful in (True, False):
            try:
                recipe = RecipeConfig.published(name, dataset, faithful=faithful)
                made[faithful] = apply_recipe(clip, recipe, layout)
            except (UserError, EmptyClip) as error:
                reasons[faithful] = str(error)
        if len(made) == 2 and not visibly_differ(made[True], made[False]):
            del made[False]
        look: dict[str, Any] = {"flat": dataset.get("coordinates") == "xyc", "bodies": PERSONS}
        shown += [_player(_title(name, f), x, note=f"{len(x)} frames", **look) for f, x in made.items()]
        same = len(set(reasons.values())) < len(reasons)
        refused |= {name if same else _title(name, f): why for f, why in reasons.items()}
    return shown, refused


def _title(name: str, faithful: bool) -> str:
    return name if faithful else f"{name}, fixed"


def apply_recipe(clip: RawClip, recipe: RecipeConfig, layout: str) -> NDArray[np.float32]:
    """Return the clip (T, M, V, 3) as the recipe stores it; raise EmptyClip or UserError if it cannot use the clip."""
    recipe.check_form(clip.form, {"coordinates": recipe.coordinates}, clip.name)
    return recipe.apply(clip, recipe.build(layout))


def visibly_differ(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Return True if any coordinate of two clips (T, M, V, 3) differs by more than ``VISIBLE``."""
    return a.shape != b.shape or bool(np.abs(a - b).max(initial=0) > VISIBLE)


@dataclass(frozen=True)
class ClipMethod:
    """The method whose views and masks are drawn: randomly initialised, or with the encoder trained by ``run``."""

    config: Mapping[str, Any]  # with the blocks method and seed, resolved
    run: Path | None = None

    @classmethod
    def read(cls, config: DictConfig, layout: str, coordinates: str = "xyz") -> ClipMethod:
        """What ``checkpoint``, else ``method``, names; raises UserError for a path that is no finished run on this
        layout and these coordinates, and for modules of strangers.
        """
        if config.checkpoint is None:
            OmegaConf.update(config, "dataset.layout", layout, force_add=True)
            OmegaConf.update(config, "dataset.coordinates", coordinates, force_add=True)
            return cls({"method": OmegaConf.to_container(config.method, resolve=True), "seed": config.seed})
        run = Path(config.checkpoint).expanduser()
        if not (run / "run.json").exists():
            raise UserError(f"checkpoint: found no finished run at {run}, expected the folder of one")
        saved = load_config(run)
        if (own := saved["dataset"]["layout"]) != layout:
            raise UserError(f"checkpoint: found a run on layout {own}, expected one on {layout}, which the clip has")
        if (own := saved["dataset"].get("coordinates", "xyz")) != coordinates:
            raise UserError(f"checkpoint: found a run on {own}, expected one on {coordinates}, which the clip has")
        return cls(saved, run)

    def build(self) -> Method:
        """The module; weights that a run did not keep are those that its seed draws."""
        from skelssl.methods.build import build_method, load_trained_method
        from skelssl.pretrained.trust import check_target

        if self.run is None:
            return build_method(self.config)
        check_target(self.config["method"])
        return load_trained_method(self.config, self.run)


def training_players(
    clip: RawClip, layout: str, source: ClipMethod, draws: int, seed: int
) -> tuple[list[PlayerClip], ...]:
    """``draws`` views of the clip as the method's pre-training draws them, and what its masks hide."""
    import torch  # slow to load, and the page of a data set does without

    from skelssl.data.batch import Batch
    from skelssl.methods.base import Method

    method = source.config["method"]
    recipe = RecipeConfig.parse(method["recipe"])
    x = apply_recipe(clip, recipe, layout)
    whole = torch.from_numpy(np.ascontiguousarray(x))[None].permute(0, 4, 1, 3, 2)  # (1, 3, T, V, M)
    one = torch.zeros(1, dtype=torch.int64)
    batch = Batch(x=whole, frames=one + len(x), label=one + clip.label, index=one)
    block = {**method["view"]["pretrain"], "stream": "joint"}  # whatever a run was trained on, positions are drawn
    view, dice = instantiate(block, _convert_="all"), torch.Generator().manual_seed(seed)
    shown = torch.cat([view(batch, dice) for _ in range(draws)])[:draws]
    views = [
        player_clip(f"draw {i + 1}", draw[None], flat=recipe.flat, note=f"{draw.shape[1]} frames")
        for i, draw in enumerate(shown)
    ]
    target: Any = get_class(method["_target_"])
    if target.visualize is Method.visualize:  # it has no masks to show
        return views, []
    return views, mask_players(source.build().visualize(whole, dice), whole, flat=recipe.flat)


def mask_players(shown: Sequence[MaskedClip], x: Tensor, *, flat: bool = False) -> list[PlayerClip]:
    """A figure of each mask that a method showed on joint positions (1, 3, T, V, M); ``flat`` as in `positioned`."""
    return [
        player_clip(
            s.title,
            x if s.clip is None else s.clip,
            flat=flat,
            dropped_joints=s.dropped_joints,
            kept_frames=s.kept_frames,
            tokens=None if s.tokens is None else s.tokens.cpu().numpy(),
        )
        for s in shown
    ]


def player_clip(title: str, x: Tensor, *, flat: bool = False, **more: Any) -> PlayerClip:
    """Return a player of positions (1, 3, T, V, M); with ``flat`` the third coordinate is a confidence."""
    seen = x[0, 2].cpu().numpy() > 0 if flat else None  # (T, V, M)
    points = (without_confidence(x) if flat else x)[0].permute(1, 2, 0, 3).cpu().numpy()  # (T, V, 3, M)
    return PlayerClip(title, points, seen=seen, **more)


def without_confidence(x: Tensor) -> Tensor:
    """Set the confidence of clips (N, 3, T, V, M) of x, y and confidence to 0."""
    return x * x.new_tensor([1, 1, 0]).view(1, 3, 1, 1, 1)


def feature_plane(features: Features, store: RecipeStore) -> tuple[Embedding, float]:
    """Project features, on the CPU, onto their principal plane; also return the fraction of variance explained."""
    rows = features.index.numpy()
    xy, share = principal_plane(features.x.mean(1).numpy())
    facts = {key: store.facts[key][rows] for key in ("subject", "camera")}
    facts = {key: values for key, values in facts.items() if (values >= 0).any()}  # unknown in some datasets
    return Embedding(xy, features.label.numpy(), [store.names[i] for i in rows], **facts), share


def _player(title: str, x: NDArray[np.float32], *, flat: bool, **more: Any) -> PlayerClip:
    """Return a player of positions (T, M, V, 3); ``flat`` as in `positioned`."""
    import torch

    return player_clip(title, torch.from_numpy(np.ascontiguousarray(x))[None].permute(0, 4, 1, 3, 2), flat=flat, **more)
