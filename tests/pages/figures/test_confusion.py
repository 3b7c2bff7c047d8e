"""Confusions: counts reach the page, the worst mistakes come first."""

import numpy as np
import pytest

from skelssl.pages.figures.confusion import confusion_figure, mistakes
from tests.helpers.page import figures

MATRIX = np.array([[8, 2, 0], [0, 0, 0], [3, 1, 6]])


def test_largest_share_of_the_true_class_first() -> None:
    assert mistakes(MATRIX) == [(2, 0), (0, 1), (2, 1)]  # 30 %, 20 %, 10 %; right answers and zeros are no mistakes
    assert mistakes(np.eye(3, dtype=int)) == []


def test_page() -> None:
    html = confusion_figure(MATRIX, ["sit", "stand <up>", "wave"], worst=2)
    assert figures(html, "confusion") == [{"names": ["sit", "stand <up>", "wave"], "counts": MATRIX.tolist()}]
    assert "<td>wave</td><td>sit</td><td>3 of 10</td>" in html
    assert "<td>sit</td><td>stand &lt;up&gt;</td><td>2 of 10</td>" in html
    assert "1 of 10" not in html


def test_names_must_fit() -> None:
    with pytest.raises(ValueError, match="square of 2"):
        confusion_figure(MATRIX, ["a", "b"])
