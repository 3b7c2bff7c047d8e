"""Log pictures of a run to Weights & Biases: what the masks hide, and the map of the feature space."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from skelssl.data.loader import batches
from skelssl.data.module import SkeletonData
from skelssl.methods.base import Method
from skelssl.pages.clip_figures import feature_plane, mask_players
from skelssl.pages.figures.embedding import embedding_map
from skelssl.pages.figures.html import Page
from skelssl.pages.figures.player import how_to_read, skeleton_player
from skelssl.pretrained.features import extract
from skelssl.skeleton.layout import load_layout
from skelssl.training.callbacks.due import due
from skelssl.training.callbacks.masks import masked_clips


class Pictures(L.Callback):
    """Log ``pictures/masks`` and ``pictures/embedding`` every n-th epoch and after the last one, as pages of HTML.

    Both are of training clips: one under the method's masks, up to ``max_clips`` on the two main axes of the encoder's
    features. Only W&B can show them; without its logger nothing is drawn, and the page of ``skelssl report`` has the
    same of a finished run.
    """

    def __init__(self, *, every_n_epochs: int = 20, max_clips: int = 500) -> None:
        self.every_n_epochs, self.max_clips = every_n_epochs, max_clips

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        logger = next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)
        if logger is None or not due(trainer, self.every_n_epochs):
            return
        from wandb import Html

        assert isinstance(module, Method)
        data: SkeletonData = trainer.datamodule  # type: ignore[attr-defined]
        pages = {"masks": mask_page(module, data), "embedding": map_page(module, data, self.max_clips)}
        shown = {f"pictures/{name}": Html(page.render(), inject=False) for name, page in pages.items()}
        logger.log_metrics(shown, trainer.global_step - 1)  # type: ignore[arg-type]


def mask_page(method: Method, data: SkeletonData) -> Page:
    """Draw a training clip under each mask of the method."""
    x, masks = next(masked_clips(method, data, 1))
    page = Page("Masks", subtitle=f"after {method.current_epoch + 1} epochs")
    clips = mask_players(masks, x, flat=data.dataset.store.flat)
    page.add("A training clip", how_to_read(clips), skeleton_player(clips, load_layout(data.dataset.store.layout)))
    return page


def map_page(method: Method, data: SkeletonData, max_clips: int) -> Page:
    """Draw training clips, spread over the dataset, on the two main axes of the encoder's features."""
    store, rows = data.dataset.store, data.dataset.train
    rows = rows[:: -(-len(rows) // max_clips)]
    features = extract(method.encoder, method.test_view, batches(store, rows), device=method.device)
    clips, share = feature_plane(features.to("cpu"), store)
    page = Page("Map of the feature space", subtitle=f"after {method.current_epoch + 1} epochs")
    caption = f"Training clips; the plane explains {100 * share:.0f} % of the variance."
    page.add("Features", caption, embedding_map(clips, data.dataset.class_names))
    return page
