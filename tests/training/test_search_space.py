import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from skelssl.core.errors import UserError
from skelssl.core.overrides import as_overrides
from skelssl.training.search_space import axes


def test_a_tree_of_axes():
    space = {"method": {"optim": {"lr": {"low": 1e-4, "high": 1, "log": True}},
                        "csm": {"mask_joint": {"low": 4, "high": 12, "step": 4}, "sampling": ["a", None]}}}  # fmt: skip
    assert axes(space) == {
        "method.optim.lr": FloatDistribution(1e-4, 1, log=True),
        "method.csm.mask_joint": IntDistribution(4, 12, step=4),
        "method.csm.sampling": CategoricalDistribution(["a", None]),
    }


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (None, r"tune\.space: found None"),
        ({}, r"tune\.space: found no axis"),
        ({"method": {"a": 3}}, r"tune\.space\.method\.a: found 3, expected \{low, high\}"),
        ({"method": {"a": {"low": 1}}}, r"tune\.space\.method\.a: found \{'low': 1\} \('high'\)"),
        ({"method": {"a": {"low": "1", "high": 2}}}, "an end is no number"),
        ({"method": {"a": {"low": True, "high": 2}}}, "an end is no number"),
        ({"method": {"a": {"low": 3, "high": 2}}}, "low <= high"),
        ({"method": {"a": {"low": -1.0, "high": 2.0, "log": True}}}, r"tune\.space\.method\.a"),
        ({"method": {"a": {"low": 1, "high": 2, "logg": True}}}, "unknown logg"),
        ({"method": {"a": []}}, "must contain one or more elements"),
        ({"method": {"a": [[1]]}}, r"a choice is \[1\]"),
        ({"seed": [0, 1]}, r"tune\.space\.seed: found a key that no search may choose"),
        ({"method": {"monitor": {"k": {"low": 1, "high": 9}}}}, r"tune\.space\.method\.monitor\.k: found a key that"),
    ],
)
def test_a_mistake_is_one_sentence(space, words):
    with pytest.raises(UserError, match=words) as error:
        axes(space)
    assert "\n" not in str(error.value)


def test_strings_that_look_like_something_else_stay_strings():
    assert as_overrides({"a": "true", "b": "1", "c": "plain"}) == ["a='true'", "b='1'", "c=plain"]
