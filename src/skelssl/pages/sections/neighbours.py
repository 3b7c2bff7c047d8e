"""Nearest neighbours: test clips beside the training clips with the most similar features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from skelssl.pages.clip_figures import player_clip
from skelssl.pages.figures.player import PlayerClip, skeleton_player
from skelssl.pages.run import OpenedRun, Section
from skelssl.pretrained.features import Features, full_float32
from skelssl.pretrained.nearest import nearest_rows
from skelssl.protocols.knn import knn

QUERIES, NEIGHBOURS, FRAMES = 8, 4, 40


def neighbours_section(run: OpenedRun) -> Section:
    """Draw queries from the test split beside their nearest training clips."""
    train, test = run.features("train"), run.features("test")
    correct = knn(train, test, classes=run.data.classes).correct.cpu()
    chosen = choose_queries(correct, test.label, QUERIES)
    with full_float32(torch.device("cpu")):
        a, b = (F.normalize(f.x.mean(1), dim=1) for f in (test.take(chosen), train))
        nearest = nearest_rows(a @ b.T, min(NEIGHBOURS, len(train)))
    rows = {}
    for query, cosines, indices in zip(chosen.tolist(), *(found.tolist() for found in nearest), strict=True):
        row = int(test.index[query])
        rows[f"{run.named(row)}: {'correct' if correct[query] else 'wrong'}"] = [
            _short_clip(run, row, "query", ""),
            *(_neighbour(run, row, train, i, cosine) for cosine, i in zip(cosines, indices, strict=True)),
        ]
    sides = (("training", train, run.data.train), ("test", test, run.data.test))
    used = ", ".join(f"{len(found):,} of {len(rows):,} {side} clips" for side, found, rows in sides)
    caption = (
        f"Each row shows a query from the test split and its {NEIGHBOURS} nearest training clips by cosine similarity. "
        "A query is correct if its nearest neighbour has the same class, which holds for "
        f"{100 * correct.float().mean():.1f} % of the test clips ({used}). Where possible, "
        "half of the queries are wrong."
    )
    return Section(caption, skeleton_player(rows, run.body, together=True, small=True))


def choose_queries(correct: Tensor, label: Tensor, count: int) -> Tensor:
    """Return the indices of ``count`` test clips, wrong ones first, each kind spread evenly over the classes.

    Half of them are correct, or more where fewer are wrong, and vice versa.
    """
    order = label.argsort(stable=True)
    wrong, good = order[~correct[order]], order[correct[order]]
    n_wrong = min(len(wrong), max(count // 2, count - len(good)))
    return torch.cat([_spread(wrong, n_wrong), _spread(good, min(len(good), count - n_wrong))])


def _spread(indices: Tensor, count: int) -> Tensor:
    return indices[torch.arange(count) * len(indices) // max(count, 1)]


def _neighbour(run: OpenedRun, query: int, train: Features, i: int, cosine: float) -> PlayerClip:
    row, labels = int(train.index[i]), run.data.store.labels
    same = labels[row] == labels[query]
    return _short_clip(run, row, f"{cosine:.4f} {'✓' if same else '✗'}", "good" if same else "bad")


def _short_clip(run: OpenedRun, row: int, title: str, mark: str) -> PlayerClip:
    """Return a clip of at most FRAMES frames. ``mark`` says whether its class is that of the query."""
    x = run.clip(row)
    some = torch.arange(min(FRAMES, x.shape[2])) * x.shape[2] // min(FRAMES, x.shape[2])
    return player_clip(title, x[:, :, some], flat=run.flat, note=run.named(row), mark=mark)
