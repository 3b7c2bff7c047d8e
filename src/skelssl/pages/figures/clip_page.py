"""The page of one clip: what the sensor saw, what each recipe makes of it, what training draws from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from skelssl.pages.figures.counts import fact_table
from skelssl.pages.figures.html import Page
from skelssl.pages.figures.player import PlayerClip, how_to_read, skeleton_player
from skelssl.skeleton.layout import Layout

RECORDED = "Every body of the file, as it is stored. Drag to turn. The bars show in which frames each body is listed."
RECIPES = (
    "With the settings that each recipe's files were published with for this data set. A second figure, fixed, is "
    "what faithful=false makes of the clip, where any joint lies more than a centimetre elsewhere. All begin and end "
    "together; the bars show when each person is there."
)
VIEWS = "What a training step may see of this clip: independent draws of the pre-training view, from a fixed seed."
MASKS = "What the method hides from its encoder. "


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
    """Writes the page; ``refused`` says why a recipe or a view shows nothing."""
    page = Page(title, subtitle=subtitle)
    both = f'<div class="beside"><div>{skeleton_player([recorded], layout)}</div>{fact_table(facts)}</div>'
    page.add("The recording", RECORDED, both)
    reasons = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in (refused or {}).items())
    notes = f'<ul class="notes">{reasons}</ul>' if reasons else ""
    page.add("Under each recipe", RECIPES, (skeleton_player(recipes, layout, together=True) if recipes else "") + notes)
    if views:
        page.add("Augmented", VIEWS, skeleton_player(views, layout))
    if masks:
        page.add("Masked", MASKS + how_to_read(masks), skeleton_player(masks, layout))
    page.write(path)
