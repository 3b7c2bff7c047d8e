"""The parser against a writer, against float(), and on every kind of damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelssl.data.ntu.source import parse_skeleton
from skelssl.data.ntu.text import Words, read_skeleton
from skelssl.data.source import BadInput
from tests.helpers.clips import assert_same, make_clip
from tests.helpers.ntu_text import format_skeleton

NAME = "S001C001P001R001A001"
GOOD = format_skeleton(make_clip())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=5).filter(any), st.integers(0, 99), st.booleans())
def test_parse_undoes_format(counts: list[int], seed: int, crlf: bool) -> None:
    clip = make_clip("S017C003P040R002A060", counts, seed)
    found = parse_skeleton(format_skeleton(clip, "\r\n" if crlf else "\n"), clip.name)
    assert_same(found, clip)
    assert found.codes == (("D05",) if 0 in counts else ())


floats = st.floats(allow_nan=False, width=64)
decimals = st.from_regex(r"[+-]?([0-9]{1,9}\.?[0-9]{0,9}|\.[0-9]{1,9})([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(floats.map(repr), decimals, st.sampled_from(["-0", "0", "9" * 15, "9" * 16, "inf"])), min_size=1)
)
def test_numbers_equal_float(texts: list[str]) -> None:
    words = Words.of(" \t".join(texts).encode())
    found = words.numbers(np.arange(len(texts)))
    wanted = np.array([float(text) for text in texts])
    assert found.tobytes() == wanted.tobytes(), texts


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "D01"),
        (b" \r\n\t\r\n", "D01"),
        (b"\xef\xbb\xbf", "D01"),
        (GOOD[: len(GOOD) // 2], "D02"),
        (GOOD[:-4], "D02"),
        (b"2\n0\n", "D02"),
        (b"1\n99999999999999\n", "D02"),
        (b"3\n0\n0\n0\n", "D04"),
        (b"0\n", "D04"),
        (GOOD.replace(b".", b","), "D23"),
        (GOOD.replace(b"277.419", b"277_419"), "D23"),
        (GOOD.replace(b"\r\n25\r\n", b"\r\n20\r\n", 1), "D23"),
        (GOOD.replace(b"0 0 0 0 ", b"0 0 0 0 7", 1), "D23"),
        (b"one\n", "D23"),
        (b"-1\n", "D23"),
        (b"PK\x03\x04 garbage \xff\xfe", "D23"),
    ],
)
def test_damage_has_a_code(data: bytes, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_skeleton(data)
    assert caught.value.code == code


def test_a_word_that_is_no_number_is_shown() -> None:
    first = b"%s " % str(make_clip().bodies[0, 0, 0]).encode()
    with pytest.raises(BadInput, match="found 'abc', expected a number"):
        read_skeleton(GOOD.replace(first, b"abc ", 1))


def test_blanks_tabs_and_byte_order_mark_do_not_matter() -> None:
    loose = b"\xef\xbb\xbf  " + GOOD.replace(b" ", b"\t ").replace(b"\r\n", b" \n\n")
    assert_same(parse_skeleton(loose, NAME), make_clip())


def test_extra_numbers_are_accepted_and_noted() -> None:
    found = parse_skeleton(GOOD + b"1 2 3\n", NAME)
    assert_same(found, make_clip())
    assert found.codes == ("D03",)


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-Infinity"])
def test_nan_is_kept_and_noted(word: str) -> None:
    first = b"%s " % str(make_clip().bodies[0, 0, 0]).encode()
    found = read_skeleton(GOOD.replace(first, word.encode() + b" ", 1))
    np.testing.assert_array_equal(found.bodies[0, 0, 0], np.float32(word))
    assert found.codes == ("D12",)


def test_ids_of_17_digits_stay_apart() -> None:
    clip = make_clip(counts=(2,))
    clip.body_id[:] = 72057594037944738, 72057594037944734  # equal as float64
    assert read_skeleton(format_skeleton(clip)).body_id.tolist() == [72057594037944738, 72057594037944734]
