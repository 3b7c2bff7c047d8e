"""The page of one run: what was learnt, how it went, what it confuses, and what the encoder saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelssl.pictures.confusion import confusion
from skelssl.pictures.curves import loss_curve
from skelssl.pictures.embedding import Embedding, embedding_map
from skelssl.pictures.html import Page
from skelssl.pictures.lost_joints import CAPTION as LOST
from skelssl.pictures.lost_joints import Curve, lost_joints_figure
from skelssl.pictures.player import PlayerClip, how_to_read, skeleton_player
from skelssl.pictures.results import accuracy_bars, results_table
from skelssl.rows import Row
from skelssl.skeleton import Layout

CAPTIONS = {
    "bars": "Top-1 accuracy of frozen features, in per cent: the pre-trained encoder, the same encoder before any "
    "training, and the raw coordinates. A tick marks a published number of exactly this cell.",
    "player": "The same clip as the encoder meets it. Drag to turn. ",
    "curves": "The band spans the smallest and the largest value where many steps share a pixel.",
    "map": "Each dot is a test clip, placed by the two main axes (PCA) of the features. Touch one to light up its kin.",
    "confusion": "Rows are true classes, columns what was predicted; colour is the share of the row.",
    "table": "Accuracies in per cent.",
}


def write_run_report(
    path: Path,
    *,
    title: str,
    subtitle: str = "",
    metrics_rows: Sequence[Mapping[str, float]] = (),
    results: Sequence[Row] = (),
    lost: Sequence[Curve] = (),
    floors: Mapping[str, float] | None = None,
    confusion_matrix: NDArray[np.integer] | None = None,
    class_names: Sequence[str] = (),
    embedding: Embedding | None = None,
    players: Sequence[PlayerClip] = (),
    layout: Layout | None = None,
) -> None:
    """Writes the page with a section for everything that is given; ``floors`` are fractions by protocol."""
    page = Page(title, subtitle=subtitle)
    if results:
        page.add("What was learnt", CAPTIONS["bars"], accuracy_bars(results, floors))
    if players and layout:
        page.add("What the encoder sees", CAPTIONS["player"] + how_to_read(players), skeleton_player(players, layout))
    if metrics_rows:
        page.add("Training", CAPTIONS["curves"], loss_curve(metrics_rows))
    if lost:
        page.add("Lost joints", LOST, lost_joints_figure(lost))
    if embedding is not None:
        page.add("Feature space", CAPTIONS["map"], embedding_map(embedding, class_names))
    if confusion_matrix is not None:
        page.add("Confusions", CAPTIONS["confusion"], confusion(confusion_matrix, class_names))
    if results:
        page.add("All figures", CAPTIONS["table"], results_table(results))
    page.write(path)
