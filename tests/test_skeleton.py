import networkx
import numpy as np
import pytest

from skelssl.errors import UserError
from skelssl.skeleton import layout, layouts

BODY = layout("ntu25")


def test_spatial_partitions_are_the_published_ones():
    a = BODY.adjacency()
    np.testing.assert_allclose(a.sum((1, 2)), (8.95, 13.3, 2.75))
    assert [(p != 0).sum() for p in a] == [25, 40, 8]
    third, fifth = 1 / 3, 1 / 5
    for (source, target), value in {
        (1, 0): 1 / 4, (2, 3): 1 / 2, (4, 5): third, (8, 9): third, (20, 1): third, (20, 2): third, (20, 4): third,
        (20, 8): third,
    }.items():  # fmt: skip
        assert a[2][source, target] == pytest.approx(value)
    for source in (1, 2, 4, 8):
        assert a[1][source, 20] == pytest.approx(fifth)
    # Both directions of an edge far from the centre are in partition 1: their distances are unknown, hence equal.
    assert a[1][5, 6] == a[1][6, 5] == pytest.approx(third)
    assert a[1][14, 15] == pytest.approx(1 / 2)
    np.testing.assert_allclose(a.sum(0).sum(0), 1)
    np.testing.assert_allclose(np.diag(a[0])[[0, 20, 3, 7]], (1 / 4, 1 / 5, 1 / 2, 1 / 3))


def test_directed_partitions_are_those_of_2s_agcn():
    a = BODY.adjacency("directed")
    np.testing.assert_allclose(a.sum((1, 2)), (25, 24, 20))
    assert set(a[1][a[1] > 0]) == {1.0}
    np.testing.assert_allclose(sorted(a[2][:, 20][a[2][:, 20] > 0]), [0.25] * 4)


def test_degree_centrality_against_networkx():
    graph = networkx.Graph([tuple(bone) for bone in BODY.bones])
    assert [graph.degree[v] for v in range(25)] == BODY.degree.tolist()
    assert BODY.degree.sum() == 48


def test_flip_is_the_published_order_and_an_involution():
    order = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22]
    assert BODY.flip.tolist() == order
    assert BODY.flip[BODY.flip].tolist() == list(range(25))


def test_bones_and_parts():
    pairs = "1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19 22-23 23-8 24-25 25-12"  # noqa: E501
    assert {tuple(int(j) - 1 for j in p.split("-")) for p in pairs.split()} == set(BODY.bones)
    assert BODY.parents[20] == 20
    assert BODY.parts["left_arm"] == (4, 5, 6, 7, 21, 22)
    assert BODY.parts["right_leg"] == (16, 17, 18, 19)
    assert sorted(v for part in BODY.parts.values() for v in part) == list(range(25))


def test_unknown_names():
    assert "ntu25" in layouts()
    with pytest.raises(UserError, match="layout: found 'x', expected one of"):
        layout("x")
    with pytest.raises(UserError, match="adjacency strategy: found 'x'"):
        BODY.adjacency("x")
