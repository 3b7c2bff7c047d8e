"""The gallery: who is asked for, and that the neighbours shown are the nearest."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from skelssl.pages.run import OpenedRun
from skelssl.pages.sections.neighbours import NEIGHBOURS, choose_queries, neighbours_section
from tests.helpers.config import train_config
from tests.helpers.page import figures
from tests.helpers.runs import untrained_run


@pytest.mark.parametrize(("wrong", "expected"), [(20, 4), (2, 2), (0, 0), (38, 6), (40, 8)])
def test_queries_are_half_wrong_where_there_are_enough(wrong: int, expected: int) -> None:
    label = torch.arange(40) % 8
    right = torch.ones(40, dtype=torch.bool)
    right[:wrong] = False
    chosen = choose_queries(right, label, 8)
    assert len(chosen.unique()) == len(chosen) == 8
    assert (~right[chosen]).sum() == expected
    assert len(label[chosen].unique()) >= 4


def test_fewer_clips_than_places() -> None:
    assert choose_queries(torch.tensor([True, False]), torch.tensor([0, 1]), 8).tolist() == [1, 0]


def test_neighbours_are_the_nearest(data_root: Path, tmp_path: Path) -> None:
    look = OpenedRun(untrained_run(tmp_path / "run", train_config(data_root, "method=mamp")))
    section = neighbours_section(look)
    (data,) = figures(section.html, "player")
    train, test = look.features("train"), look.features("test")
    names, labels = look.data.store.names, look.data.store.labels
    clips = iter(data["clips"])
    right = 0
    for name, count in data["groups"]:
        query, *near = [next(clips) for _ in range(count)]
        row = names.index(query["note"].rpartition(", ")[2])
        cosines = F.cosine_similarity(test.x.mean(1)[test.index == row], train.x.mean(1))
        order = cosines.argsort(descending=True)[:NEIGHBOURS]
        for clip, place in zip(near, order.tolist(), strict=True):
            other = int(train.index[place])
            mark = "✓" if labels[other] == labels[row] else "✗"
            assert clip["title"] == f"{float(cosines[place]):.4f} {mark}"
            assert clip["mark"] == {"✓": "good", "✗": "bad"}[mark]
        assert name == f"{query['note']}: {'correct' if near[0]['mark'] == 'good' else 'wrong'}"
        right += near[0]["mark"] == "good"
    assert right > 0
