"""What a study is asked for, and what it comes to."""

import pytest

from adarank_core import AdaRankError
from adarank_core.lab.study import Study, StudyRequest, StudyResult


def test_bad_input_is_one_sentence():
    defaults = {"most": 4, "rates": [0.5], "name": "a", "seeds": 2}
    study = Study("squares", "Why?", defaults, *[None] * 4)
    for changes, message in (
        ({"lest": 3}, "no setting 'lest'; it has 'most', 'rates', 'name', 'seeds'"),
        ({"most": 0}, "most is 0; it must be a whole number from 1 to 1,000,000,000"),
        ({"most": 2.5}, "most is 2.5"),
        ({"rates": []}, "give a list"),
        ({"rates": [0.5, -1]}, "an entry of rates is -1; it must be a number above 0"),
        ({"name": 3}, "name is 3; give a word"),
        ({"seeds": 10**9}, "seeds is 1000000000; it must be a whole number from 1 to 1,000"),
        ({"rates": [0.5] * 1001}, "rates has 1,001 entries; give at most 1,000"),
    ):
        with pytest.raises(AdaRankError, match=message):
            StudyRequest(study, settings=changes)
    with pytest.raises(AdaRankError, match="seed"):
        StudyRequest(study, seed=-1)


def test_a_cap_on_seeds_is_of_studies_too(monkeypatch):
    monkeypatch.setenv("ADARANK_MAX_SEEDS", "3")
    study = Study("squares", "Why?", {"seeds": 2}, *[None] * 4)
    with pytest.raises(AdaRankError, match="more than the 3 that are allowed"):
        StudyRequest(study, settings={"seeds": 4})


def test_a_stored_study_is_checked():
    result = StudyResult("squares", {"seed": 0}, {"python": "3"}, ({"x": 1, "y": None},), "")
    for wrong in ({"rows": [{"x": [1]}]}, {"rows": [{"x": float("inf")}]}, {"answer": None}):
        with pytest.raises(AdaRankError, match="the study"):
            StudyResult.from_dict({**result.to_dict(), **wrong})
    with pytest.raises(AdaRankError, match="not a study file"):
        StudyResult.from_dict({**result.to_dict(), "format": "adarank-scores/1"})
