"""A ``comparison.json`` and a request in JSON: every value is of its type, or named."""

import pytest

from adarank_core import AdaRankError
from adarank_core.comparison.compare import read_request
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.files import write_json
from adarank_core.training.settings import Settings

WHOLE = {
    "model": "m",
    "task": "t",
    "task_sha256": "00",
    "average_rank": 2.5,
    "trials": None,
    "settings": {"steps": 9, "batch_size": 4},
    "learning_rates": [0.1, 1],
    "search_seed": 3,
}


def test_a_claim_is_read_with_the_arms_and_seeds_of_one_part(tmp_path):
    write_json(tmp_path / "comparison.json", WHOLE)
    wanted = ComparisonRequest(
        "m", "t", ("eva",), 2.5, (7,), settings=Settings(9, 4), learning_rates=(0.1, 1)
    )
    assert read_request(tmp_path, ("eva",), (7,)) == wanted


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": None}, "'model' of comparison.json is None; it must be a valid string"),
        ({"task": ""}, "'task' of comparison.json is ''; string should have at least 1"),
        ({"task_sha256": 0}, "'task_sha256' of comparison.json is 0"),
        ({"average_rank": "2"}, "'average_rank' of comparison.json is '2'; it must be a valid num"),
        ({"average_rank": 10**300}, "it must be less than or equal to 1000000"),
        ({"trials": 0}, "'trials' of comparison.json is 0; it must be greater"),
        ({"settings": []}, "'settings' of comparison.json is []; it must be a valid dictionary"),
        ({"settings": {"steps": -1}}, "'steps' of 'settings' of comparison.json is -1"),
        ({"learning_rates": [0.1, 0]}, "learning_rate 2 of comparison.json is 0; it must be gre"),
        ({"search_seed": -1}, "'search_seed' of comparison.json is -1"),
    ],
    ids=str,
)
def test_a_claim_that_is_not_right_is_named(tmp_path, change, sentence):
    write_json(tmp_path / "comparison.json", {**WHOLE, **change})
    with pytest.raises(AdaRankError) as caught:
        read_request(tmp_path, ("eva",), (7,))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("key", ["model", "task", "arms", "seeds"])
def test_a_request_has_to_say_what_is_compared(key):
    data = ComparisonRequest("m", "t", ("uniform",)).to_dict()
    del data[key]
    with pytest.raises(AdaRankError, match=f"'{key}' is missing from the comparison"):
        ComparisonRequest.from_dict(data)
