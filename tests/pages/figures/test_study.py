"""The figure of a study: which charts, which lines, at the right places."""

from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.pages.figures.study import study_figure, study_panels, study_svg
from skelssl.pages.report import collect
from skelssl.results.aggregate import Row
from tests.helpers.page import figures
from tests.helpers.results import write_evaluation


def study(folder: Path, masks: tuple[object, ...], tubes: tuple[int, ...]) -> tuple[Row, ...]:
    """Of 20 clips ``5 i + j + 2 seed`` are right with the i-th mask and the j-th tube, 4 or 6 before any training."""
    for (i, mask), (j, tube), seed in product(enumerate(masks), enumerate(tubes), (0, 1)):
        method = {"name": "pstl", "mask": mask, "tube": tube}
        right, random = (np.arange(20) < n for n in (5 * i + j + 2 * seed, 4 + 2 * seed))
        write_evaluation(folder / f"{i}{j}{seed}", seed=seed, correct=right, random=random, config={"method": method})
    return collect([folder], []).rows


def test_a_chart_for_each_swept_number_with_a_line_for_each_choice_of_the_other(tmp_path: Path) -> None:
    masks, tubes = study_panels(study(tmp_path, (0.8, 0.9), (1, 5)))
    assert masks[0] == "pstl, ntu60_xview, linear: accuracy over mask"
    assert [line.name for line in masks[1]] == ["tube 1", "tube 5", "random init"]
    assert [line.name for line in tubes[1]] == ["mask 0.8", "mask 0.9", "random init"]
    line, random = masks[1][1], masks[1][2]
    assert line.x.tolist() == [0.8, 0.9]
    assert line.low == pytest.approx(np.array([1, 6]) / 20)  # of the seeds
    assert line.high == pytest.approx(np.array([3, 8]) / 20)
    assert line.mean == pytest.approx(np.array([2, 7]) / 20)
    assert (random.low[0], random.mean[0], random.high[0], random.dashed) == (0.2, 0.25, 0.3, True)


def test_one_swept_number_is_one_line_and_shares_keep_their_decimals(tmp_path: Path) -> None:
    rows = study(tmp_path, (0.8, 0.9), (1,))
    (lines,) = figures(study_figure(rows), "curves")
    assert [line["name"] for line in lines] == ["trained", "random init"]
    assert (lines[0]["unit"], lines[0]["step"], lines[0]["text"]) == ("mask", [0.8, 0.9], ["5.0 %", "30.0 %"])


def test_the_file_is_one_well_formed_picture(tmp_path: Path) -> None:
    root = ElementTree.fromstring(study_svg(study(tmp_path, (4, 8), (1, 5))))
    text = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [line for line in text if "accuracy" in line] == [
        f"pstl, ntu60_xview, linear: accuracy over {key}" for key in ("mask", "tube")
    ]
    assert text.count("tube 5") == 1
    assert text.count("random init") == 2
    height = int(root.attrib["viewBox"].split()[3])
    assert height == 2 * (26 + 18 * 2 + 240)


def test_words_have_no_axis(tmp_path: Path) -> None:
    rows = study(tmp_path, ("random", "part"), (1,))
    assert study_panels(rows) == []
    with pytest.raises(UserError, match=r"--svg: found no number in two rows of method\.mask, expected an axis"):
        study_svg(rows)
    assert "mask part" in collect([tmp_path], []).page().render()
