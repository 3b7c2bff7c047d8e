"""The map: PCA against the covariance's eigenvectors, and what each dot knows."""

import numpy as np
import pytest

from skelssl.pages.figures.embedding import Embedding, embedding_map, principal_plane
from tests.helpers.page import figures


def test_plane_equals_the_eigenvectors_of_the_covariance() -> None:
    features = np.random.default_rng(0).normal(size=(50, 6)) * [5, 1, 3, 0.1, 0.2, 0.3] + 7
    xy, share = principal_plane(features)
    values, vectors = np.linalg.eigh(np.cov(features.T))
    expected = (features - features.mean(0)) @ vectors[:, [-1, -2]]
    assert np.abs(xy) == pytest.approx(np.abs(expected))
    assert share == pytest.approx(values[-2:].sum() / values.sum())


def test_sign_is_fixed() -> None:
    features = np.array([[0.0, 0, 0], [9, 0, 0], [0, 4, 0], [9, 4, 1]])
    xy, _ = principal_plane(features)
    assert xy[1, 0] > xy[0, 0]
    assert xy[2, 1] > xy[0, 1]


def test_constant_features_give_one_point() -> None:
    xy, share = principal_plane(np.ones((3, 4)))
    assert (xy == 0).all()
    assert share == 0


def test_dots_lie_in_the_unit_square_and_groups_are_named() -> None:
    xy = np.array([[-1.0, 10.0], [1.0, 20.0], [0.0, 15.0]])
    embedding = Embedding(xy, np.array([0, 1, 1]), ["a", "b", "c"], subject=np.array([7, 3, 7]))
    (data,) = figures(embedding_map(embedding, ["sit", "wave"]), "embedding")
    assert data["xy"] == [[0, 0], [1, 1], [0.5, 0.5]]
    assert data["groups"] == {
        "class": {"of": [0, 1, 1], "names": ["sit", "wave"]},
        "subject": {"of": [1, 0, 1], "names": ["subject 3", "subject 7"]},
    }


def test_who_is_unknown_is_called_so() -> None:
    clips = Embedding(np.eye(3)[:, :2], np.array([0, 1, 1]), subject=np.array([-1, 4, 4]))
    (data,) = figures(embedding_map(clips, ["a", "b"]), "embedding")
    assert data["groups"]["subject"] == {"of": [0, 1, 1], "names": ["subject unknown", "subject 4"]}
