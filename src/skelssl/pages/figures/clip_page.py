"""Write the page of one clip: as recorded, under each recipe, and with the views and masks of pre-training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from skelssl.pages.figures.counts import fact_table
from skelssl.pages.figures.html import Page
from skelssl.pages.figures.player import PlayerClip, how_to_read, skeleton_player
from skelssl.skeleton.layout import Layout

RECORDED = "All bodies of the file, as stored. Drag to rotate. The bars mark the frames in which each body is tracked."
RECIPES = (
    "Each recipe with its published settings for this dataset. A second figure, fixed, is the result of "
    "faithful=false, drawn where any joint differs by more than 1 cm. All clips are stretched to the same duration; "
    "the bars mark the frames in which each person is present."
)
VIEWS = "Independent draws of the pre-training view of this clip, from a fixed seed."
MASKS = "The clip as the encoder sees it during pre-training. "


def write_clip_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    layout: Layout,
    facts: Sequence[tuple[str, str]],
    recorded: PlayerClip,
    recipes: Sequence[PlayerClip],
    views: Sequence[PlayerClip] = (),
    masks: Sequence[PlayerClip] = (),
    refused: Mapping[str, str] | None = None,
) -> None:
    """Write the page.

    Args:
        path: The HTML file to write.
        title: The name of the clip.
        subtitle: Class, length and dataset.
        layout: The skeleton layout.
        facts: Names and values for the table beside the recording.
        recorded: The clip as recorded.
        recipes: The clip under each recipe.
        views: Draws of the pre-training view.
        masks: The clip under each mask.
        refused: Why a recipe or a view cannot use the clip.

    Raises:
        UserError: The file cannot be written.
    """
    page = Page(title, subtitle=subtitle)
    both = f'<div class="beside"><div>{skeleton_player([recorded], layout)}</div>{fact_table(facts)}</div>'
    page.add("Recording", RECORDED, both)
    reasons = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in (refused or {}).items())
    notes = f'<ul class="notes">{reasons}</ul>' if reasons else ""
    page.add("Recipes", RECIPES, (skeleton_player(recipes, layout, together=True) if recipes else "") + notes)
    if views:
        page.add("Augmentations", VIEWS, skeleton_player(views, layout))
    if masks:
        page.add("Masks", MASKS + how_to_read(masks), skeleton_player(masks, layout))
    page.write(path)
