"""The feature space of a run: a map of it, and what lies next to some test clips."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from skelssl.pages.clip_figures import mapped, positioned
from skelssl.pages.figures.embedding import embedding_map
from skelssl.pages.figures.player import PlayerClip, skeleton_player
from skelssl.pages.run import Look, Section
from skelssl.pretrained.features import Features, full_float32
from skelssl.pretrained.nearest import nearest_rows
from skelssl.protocols.knn import knn

QUERIES, NEIGHBOURS, FRAMES = 8, 4, 40
MAP = "Each dot is a test clip, placed by the two main axes (PCA) of the features. Touch one to light up its kin. "


def feature_map(look: Look) -> Section:
    """Test clips on the two main axes of their features."""
    clips, share = mapped(look.features("test"), look.data.store)
    unknown = [key for key in ("subject", "camera") if getattr(clips, key) is None]
    said = f" The data say nothing of {' and '.join(unknown)}." if unknown else ""
    count = f"{len(clips.xy):,} of {len(look.data.test):,} clips; the plane holds {100 * share:.0f} % of the variance."
    return Section(f"{MAP}{count}{said}", embedding_map(clips, look.data.class_names))


def neighbours(look: Look) -> Section:
    """Some test clips beside the training clips whose features point the most alike."""
    train, test = look.features("train"), look.features("test")
    right = knn(train, test, classes=look.data.classes).correct.cpu()
    chosen = queries(right, test.label, QUERIES)
    with full_float32(torch.device("cpu")):
        a, b = (F.normalize(f.x.mean(1), dim=1) for f in (test.take(chosen), train))
        near = nearest_rows(a @ b.T, min(NEIGHBOURS, len(train)))
    rows = {}
    for query, cosines, places in zip(chosen.tolist(), *(found.tolist() for found in near), strict=True):
        own = int(test.index[query])
        rows[f"{look.named(own)}: {'right' if right[query] else 'wrong'}"] = [
            _figure(look, own, "query", ""),
            *(_neighbour(look, own, train, place, cosine) for cosine, place in zip(cosines, places, strict=True)),
        ]
    sides = (("training", train, look.data.train), ("test", test, look.data.test))
    seen = ", ".join(f"{len(found):,} of {len(rows):,} {side} clips" for side, found, rows in sides)
    caption = (
        f"Left the query, a test clip; beside it the {NEIGHBOURS} training clips of the largest cosine, the nearest "
        f"first. Right: the nearest is of the query's class, as for {100 * right.float().mean():.1f} % of the test "
        f"clips ({seen}). Shown are as many wrong ones as right ones, where there are, spread over the set."
    )
    return Section(caption, skeleton_player(rows, look.body, together=True, small=True))


def queries(right: Tensor, label: Tensor, count: int) -> Tensor:
    """Positions of ``count`` test clips, wrong ones first, each kind spread evenly over the classes.

    Half of them are right, or more where fewer are wrong, and the other way round.
    """
    order = label.argsort(stable=True)
    wrong, good = order[~right[order]], order[right[order]]
    n_wrong = min(len(wrong), max(count // 2, count - len(good)))
    return torch.cat([_spread(wrong, n_wrong), _spread(good, min(len(good), count - n_wrong))])


def _spread(rows: Tensor, count: int) -> Tensor:
    return rows[torch.arange(count) * len(rows) // max(count, 1)]


def _neighbour(look: Look, query: int, train: Features, place: int, cosine: float) -> PlayerClip:
    row, labels = int(train.index[place]), look.data.store.labels
    same = labels[row] == labels[query]
    return _figure(look, row, f"{cosine:.4f} {'✓' if same else '✗'}", "good" if same else "bad")


def _figure(look: Look, row: int, title: str, mark: str) -> PlayerClip:
    """A clip of at most FRAMES frames; the mark says whether its class is the right one."""
    x = look.clip(row)
    some = torch.arange(min(FRAMES, x.shape[2])) * x.shape[2] // min(FRAMES, x.shape[2])
    return positioned(title, x[:, :, some], flat=look.flat, note=look.named(row), mark=mark)
