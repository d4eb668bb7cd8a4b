"""What a schema says of data that does not fit it."""

import math
from typing import Annotated, NotRequired

import pytest
from annotated_types import Ge, MaxLen
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from adarank_core.errors import AdaRankError
from adarank_core.schemas import STRICT, FailFast, Name, Text, validated


class Run(TypedDict):
    __pydantic_config__ = STRICT
    seed: Annotated[int, Ge(0)]
    loss: float


class Result(TypedDict):
    __pydantic_config__ = STRICT
    runs: Annotated[list[Run], FailFast()]
    ranks: NotRequired[Annotated[dict[Name, Annotated[int, Ge(1)]], MaxLen(2), FailFast()]]
    layers: NotRequired[list[int] | Text | None]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (3, "the result is 3; it must be a valid dictionary"),
        ({}, "'runs' is missing from the result; write it as AdaRank does"),
        ({"runs": [{"seed": 1}]}, "'loss' is missing from run 1 of the result; write it as"),
        ({"runs": [{"seed": -1, "loss": 1.0}]}, "'seed' of run 1 of the result is -1; it must be"),
        (
            {"runs": [{"seed": 1, "loss": math.nan}]},
            "'loss' of run 1 of the result is nan; it must",
        ),
        ({"runs": [{"seed": True, "loss": 1.0}]}, "'seed' of run 1 of the result is True; it must"),
        ({"runs": [], "ranks": {"a.b": 0}}, "'a.b' of 'ranks' of the result is 0; it must be"),
        ({"runs": [], "ranks": {1: 1}}, "of the result is 1; it must be a valid string"),
        ({"runs": [], "ranks": {"\udce9": 1}}, "of the result is '\\udce9'; it must be a valid"),
        ({"runs": [], "ranks": {"a": 1, "b": 1, "c": 1}}, "dictionary should have at most 2 items"),
        ({"runs": [], "layers": 3}, "'layers' of the result is 3; it must be a valid list"),
        ({"runs": [], "layers": [0, "1"]}, "layer 2 of the result is '1'; it must be a valid int"),
    ],
    ids=range(12),
)
def test_a_schema_says_where_what_is_wrong_stands(data, sentence):
    with pytest.raises(AdaRankError) as caught:
        validated(data, Result, "the result")
    assert sentence in str(caught.value)


def test_what_fits_a_schema_comes_back_as_it_is():
    data = {"runs": [{"seed": 1, "loss": 1, "more": [1]}], "others": None}
    assert validated(data, Result, "the result") is data and type(data["runs"][0]["loss"]) is int


@pytest.mark.parametrize("data", [{"runs": [3, 4]}, {"runs": [], "ranks": {"a": 0, "b": 0}}])
def test_the_first_wrong_item_of_many_is_enough_to_know(data):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Result).validate_python(data, strict=True)
    assert caught.value.error_count() == 1
