"""What a study is asked for, and what it comes to."""

import pytest

from adarank_core import AdaRankError
from adarank_core.lab.study import Study, StudyRequest, StudyResult


def test_bad_input_is_one_sentence():
    study = Study("squares", "Why?", {"most": 4, "rates": [0.5], "name": "a"}, *[None] * 4)
    for changes, message in (
        ({"lest": 3}, "no setting 'lest'; it has 'most', 'rates', 'name'"),
        ({"most": 0}, "most is 0; it must be a whole number from 1 on"),
        ({"most": 2.5}, "most is 2.5"),
        ({"rates": []}, "give a list"),
        ({"rates": [0.5, -1]}, "an entry of rates is -1; it must be a number above 0"),
        ({"name": 3}, "name is 3; give a word"),
    ):
        with pytest.raises(AdaRankError, match=message):
            StudyRequest(study, settings=changes)
    with pytest.raises(AdaRankError, match="seed"):
        StudyRequest(study, seed=-1)


def test_a_stored_study_is_checked():
    result = StudyResult("squares", {"seed": 0}, {"python": "3"}, ({"x": 1, "y": None},), "")
    for wrong in ({"rows": [{"x": [1]}]}, {"rows": [{"x": float("inf")}]}, {"answer": None}):
        with pytest.raises(AdaRankError, match="the study"):
            StudyResult.from_dict({**result.to_dict(), **wrong})
    with pytest.raises(AdaRankError, match="not a study file"):
        StudyResult.from_dict({**result.to_dict(), "format": "adarank-scores/1"})
