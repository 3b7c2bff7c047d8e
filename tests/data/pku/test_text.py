"""The three texts of PKU-MMD: numbers, lines of labels with their faults, split lists."""

from __future__ import annotations

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.pku.text import LabelLine, PKURecording, lines, looks_like_labels, read_split
from skelssl.data.source import BadInput
from tests.helpers.pku import persons, split_list, text
from tests.helpers.shared import data, shared


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows_are_the_numbers_of_the_text(newline: str) -> None:
    x = persons(6)
    recording = PKURecording.of(b"\xef\xbb\xbf" + text(x, newline) + newline.encode())
    assert recording.n_frames == 6
    np.testing.assert_array_equal(recording.persons(0, 6), x)
    np.testing.assert_array_equal(recording.persons(2, 5), x[2:5])
    assert recording.persons(2, 5).dtype == np.float32


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "D01: empty file"),
        (lambda lines: [*lines[:2], lines[2].rsplit(maxsplit=1)[0], *lines[3:]], "D24: line 3 holds 149 words"),
        (lambda lines: [*lines[:4], lines[4] + " 1.0"], "D24: line 5 holds 151 words, expected 150 numbers"),
        (lambda lines: [*lines[:1], "", *lines[1:]], "D24: line 2 holds 0 words"),
        (lambda lines: [lines[0] + lines[1], lines[2]], "D24: line 1 holds"),
        (lambda lines: [line.replace(".", ",") for line in lines], "D23: found a comma"),
    ],
)
def test_damaged_recordings(damage, message) -> None:  # type: ignore[no-untyped-def]
    damaged = "\n".join(damage(text(persons(5)).decode().splitlines()))
    with pytest.raises(BadInput, match=f"^{message}"):
        PKURecording.of(damaged.encode())


def test_a_word_that_is_no_number_is_found_where_it_is_read() -> None:
    words = text(persons(4)).decode().split()
    words[2 * 150 + 7] = "none"
    recording = PKURecording.of("\n".join(" ".join(words[i : i + 150]) for i in range(0, 600, 150)).encode())
    assert len(recording.persons(0, 2)) == 2
    with pytest.raises(BadInput, match="D23: found 'none', expected a number"):
        recording.persons(1, 3)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("3,2,5,1", (2, 1, 5, False)),
        ("51,5,5", (50, 4, 5, False)),
        (" 3 , 2 , 5 , 1 ,\r", (2, 1, 5, False)),
        ("3.0,2.000000e+00,5.,1.5", (2, 1, 5, False)),
        ("3,5,2,1", (2, 1, 5, True)),  # exchanged
        ("3,0,5,1", (2, 0, 5, True)),
        ("3,8,99,1", (2, 7, 10, True)),  # beyond the ten frames
        ("3,99,-4,1", (2, 0, 10, True)),
    ],
)
def test_lines_of_labels(line: str, wanted: tuple[int, int, int, bool]) -> None:
    assert LabelLine.of(line, 10) == LabelLine(*wanted)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0,2,5,1", "class 0 is not in 1–51"),
        ("52,2,5,1", "class 52 is not in 1–51"),
        ("3,2.5,5,1", "found start '2.5', expected a whole number"),
        ("3,2,nan,1", "found end 'nan'"),
        ("3,2,inf,1", "found end 'inf'"),
        ("bow,2,5,1", "found class 'bow'"),
        ("3,1_0,5,1", "found start '1_0'"),
        ("3,2", "found 2 fields in '3,2', expected class,start,end,confidence"),
        ("3 2 5 1", "found 1 fields"),
        ("3,2,5,1,7", "found 5 fields"),
        ("3,11,20,1", "interval 11–20 lies outside the 10 frames"),
        ("3,-9,0,1", "interval -9–0 lies outside the 10 frames"),
    ],
)
def test_lines_that_give_no_clip(line: str, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        LabelLine.of(line, 10)
    assert caught.value.code == "D25"
    assert caught.value.reason.startswith(reason)


def test_blank_lines_count_but_give_nothing() -> None:
    assert list(lines(b"\xef\xbb\xbf3,1,2,1\r\n\r\n  \n4,1,2,1")) == [(1, "3,1,2,1"), (4, "4,1,2,1")]


def test_files_are_told_apart_by_their_first_line() -> None:
    assert looks_like_labels(b"\n 3,1,2,1\n") is True
    assert looks_like_labels(b"3.0, 1, 2\n") is True
    assert looks_like_labels(text(persons(1))[:400]) is False
    assert looks_like_labels(text(persons(1)).replace(b".", b",")[:400]) is False
    assert looks_like_labels(b"# exported, by hand\n1 2 3") is None
    assert looks_like_labels(b" \n") is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_split_lists(end: str) -> None:
    sides = {"0002-L", "0003-M"}, {"0291-R"}
    assert read_split(split_list(sorted(sides[0]), sorted(sides[1]), end), "x") == sides
    misspelt = f"Trianing viedos{end}0002-L,0003-m{end}Vlaidation{end} 0291-R"
    assert read_split(misspelt.encode(), "x") == sides
    assert read_split(b"Validation videos: 0291-R\nTraining videos: 0002-L, 0003-M,", "x") == sides


def test_bad_split_lists() -> None:
    with pytest.raises(UserError, match=r"^list.txt: found 0002-L in both lists \(D27\), expected"):
        read_split(split_list(["0003-M", "0002-L"], ["0002-L"]), "list.txt")
    with pytest.raises(UserError, match=r"^list.txt: found '0002-X', expected names of recordings"):
        read_split(split_list(["0002-L", "0002-X"], ["0003-L"]), "list.txt")
    with pytest.raises(UserError, match=r"^list.txt: found '0002-L', expected a header first"):
        read_split(b"0002-L, 0003-L", "list.txt")


@shared
def test_a_real_recording() -> None:
    path = data("pku_raw", "A10N08-L.txt")
    recording = PKURecording.of(path.read_bytes())
    x = recording.persons(0, recording.n_frames)
    assert x.shape == (1040, 2, 25, 3)
    assert x.any((2, 3)).sum(0).tolist() == [1040, 728]
    np.testing.assert_array_equal(x.reshape(1040, 150), np.loadtxt(path).astype(np.float32))


@shared
def test_a_real_recording_cut_by_a_spreadsheet() -> None:
    with pytest.raises(BadInput, match=r"^D24: line 1 holds 16 words, expected 150 numbers$"):
        PKURecording.of(data("pku_raw", "0002-L.truncated.txt").read_bytes())
