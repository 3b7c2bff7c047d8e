from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelssl.core.errors import UserError
from skelssl.core.schema import BELOW_1, above, at_least, between, check_fields, expect, read_block


@dataclass(frozen=True, kw_only=True)
class Block:
    size: Annotated[int, at_least(1)]
    name: Literal["a", "b"] = "a"
    rate: Annotated[float, above(0, up_to=1)] = 1.0
    drop: Annotated[float | None, BELOW_1] = None
    momentum: Annotated[float, between(0, 1)] = 0.5
    on: bool = False
    label: str = ""
    steps: tuple[int, ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    spared: tuple[str, ...] = ()


GOOD: dict[str, st.SearchStrategy[Any]] = {
    "size": st.integers(1),
    "name": st.sampled_from(["a", "b"]),
    "rate": st.floats(0, 1, exclude_min=True) | st.just(1),
    "drop": st.none() | st.floats(0, 1, exclude_max=True),
    "momentum": st.floats(0, 1),
    "on": st.booleans(),
    "label": st.text(),
    "steps": st.lists(st.integers()),
    "betas": st.lists(st.floats(allow_nan=False), min_size=2, max_size=2),
    "spared": st.lists(st.text()),
}
# None of these is a value of the key, whatever is drawn.
BAD: dict[str, st.SearchStrategy[Any]] = {
    "size": st.integers(max_value=0) | st.floats() | st.booleans() | st.text() | st.none(),
    "name": st.text().filter(lambda text: text not in ("a", "b")) | st.integers() | st.lists(st.text()),
    "rate": st.floats(max_value=0) | st.floats(1, exclude_min=True) | st.just(float("nan")) | st.booleans() | st.text(),
    "drop": st.floats(1) | st.floats(max_value=0, exclude_max=True) | st.booleans() | st.text(),
    "momentum": st.floats(1, exclude_min=True) | st.just(float("nan")) | st.none(),
    "on": st.integers() | st.text() | st.none(),
    "label": st.integers() | st.none() | st.booleans(),
    "steps": st.lists(st.floats(), min_size=1) | st.lists(st.booleans(), min_size=1) | st.text() | st.integers(),
    "betas": st.lists(st.floats(), max_size=1) | st.lists(st.floats(), min_size=3) | st.text(),
    "spared": st.text() | st.lists(st.integers(), min_size=1),
}
BLOCKS = st.fixed_dictionaries({"size": GOOD["size"]}, optional={k: v for k, v in GOOD.items() if k != "size"})


@given(BLOCKS)
def test_a_good_block_becomes_its_dataclass(block: dict[str, Any]) -> None:
    built = read_block(Block, block, "where")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in block.items()}
    assert built == Block(**plain)
    check_fields(built, "where")


@given(st.data(), BLOCKS, st.sampled_from(sorted(BAD)))
def test_one_bad_value_is_named(data: st.DataObject, block: dict[str, Any], key: str) -> None:
    value = data.draw(BAD[key])
    with pytest.raises(UserError) as caught:
        read_block(Block, {**block, key: value}, "where")
    assert str(caught.value).startswith(f"where.{key}: found ")
    assert ", expected " in str(caught.value)


@given(BLOCKS, st.text().filter(lambda key: key not in GOOD))
def test_an_unknown_key_is_named_with_the_known_ones(block: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as caught:
        read_block(Block, {**block, key: 1}, "where")
    assert str(caught.value) == f"where.{key}: found an unknown key, expected one of {', '.join(GOOD)}"


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({}, "where.size: found no such key, expected a whole number"),
        ({"size": 0}, "where.size: found 0, expected at least 1"),
        ({"size": True}, "where.size: found True, expected a whole number"),
        ({"size": 1, "name": "c"}, "where.name: found 'c', expected one of a, b"),
        ({"size": 1, "rate": 1.5}, "where.rate: found 1.5, expected above 0 and up to 1"),
        ({"size": 1, "drop": "x"}, "where.drop: found 'x', expected a number or null"),
        ({"size": 1, "drop": 1}, "where.drop: found 1, expected at least 0 and below 1"),
        ({"size": 1, "momentum": 2}, "where.momentum: found 2, expected a number from 0 to 1"),
        ({"size": 1, "on": 1}, "where.on: found 1, expected true or false"),
        ({"size": 1, "label": 1}, "where.label: found 1, expected a word"),
        ({"size": 1, "steps": [1.0]}, "where.steps: found [1.0], expected a list of whole numbers"),
        ({"size": 1, "betas": [0.9]}, "where.betas: found [0.9], expected a list of 2 numbers"),
        ({"size": 1, "spared": "all"}, "where.spared: found 'all', expected a list of names"),
    ],
)
def test_the_sentences(block: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read_block(Block, block, "where")
    assert str(caught.value) == sentence


def test_fields_and_conditions_are_checked_alike() -> None:
    with pytest.raises(UserError, match=r"^where\.size: found 0, expected at least 1$"):
        check_fields(Block(size=0), "where")
    expect("key", 3, True, "anything")
    with pytest.raises(UserError, match=r"^key: found 3, expected an even number$"):
        expect("key", 3, False, "an even number")
