"""Is AdaRank better when every arm has its own learning rate?"""

import numpy as np
import pytest

from adarank_core import AdaRankError
from adarank_core.lab.learning_rate import STUDY
from adarank_core.lab.studies import study_iter
from adarank_core.lab.study import StudyRequest


def measured(arm, rate, *losses):
    return [
        {"arm": arm, "learning_rate": rate, "seed": seed, "loss": loss}
        for seed, loss in enumerate(losses)
    ]


def test_arms_are_compared_each_at_its_own_best_rate():
    done = [
        *measured("uniform", 0.1, 0.9, 0.8, 0.85),
        *measured("uniform", 0.2, 0.5, 0.45, 0.41),
        *measured("adarank", 0.1, 0.6, 0.5, 0.56),
        *measured("adarank", 0.2, 0.7, 0.7, 0.7),
        *measured("uniform", 0.4, 0.6, 0.6, 0.6),
        *measured("adarank", 0.4, 0.8, 0.8, 0.8),
    ]
    rows = STUDY.rows(done, {})
    best = {r["arm"]: r["learning_rate"] for r in rows if r["table"] == "losses" and r["best"]}
    assert best == {"uniform": 0.2, "adarank": 0.1}
    own, low = (
        next(r for r in rows if r["table"] == "differences" and r["at"] == at)
        for at in ("own best", "lowest")
    )
    assert own["difference"] == pytest.approx(0.1)  # a loss, where one low rate shows a gain
    assert low["difference"] == pytest.approx(-0.297, abs=1e-3)
    assert own["at_edge"] and not low["at_edge"]
    assert "at its best learning rate" in STUDY.answer(rows) and "+0.100" in STUDY.answer(rows)
    told = STUDY.details(rows)
    assert "grid's end" in told and "−0.297" in told and "+0.100" not in told
    assert "on the seeds that are compared" in told


@pytest.mark.parametrize(("good", "most"), [(4, 0.05), (1, 0.1)])
def test_where_nothing_differs_the_choice_of_rates_finds_little(good, most):
    """As many of uniform's four rates are good as said, and all of the other's."""
    random, found = np.random.default_rng(0), []
    for _ in range(400):
        done = []
        for at, rate in enumerate((0.1, 0.2, 0.3, 0.4)):
            done += measured("adarank", rate, *random.normal(size=5))
            done += measured("uniform", rate, *random.normal(9 * (at >= good), size=5))
        rows = STUDY.rows(done, {})
        found += [r["p_value"] < 0.05 for r in rows if r.get("at") == "own best"]
    assert len(found) == 400 and np.mean(found) < most


def test_a_study_that_is_gone_on_with_is_the_same(tiny_bert, tiny_file, tmp_path):
    own = {"steps": 2, "batch_size": 4, "seeds": 2, "learning_rates": [1e-3, 1e-2]}
    own["arms"] = ["uniform", "scale-only"]
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings=own)
    whole = list(study_iter(request, tmp_path / "whole"))[-1].result
    stop = iter([False] * 20)
    list(study_iter(request, tmp_path / "two", should_stop=lambda: next(stop, None) is not False))
    assert len(list((tmp_path / "two" / "units").glob("*.json"))) < 8
    again = list(study_iter(request, tmp_path / "two"))[-1].result
    assert again.rows == whole.rows and again.answer == whole.answer


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"learning_rates": [0.1]}, "at least two rates"),
        ({"arms": ["adarank"]}, "give 'uniform' and at least one other"),
        ({"arms": ["uniform", "nobody"]}, "'nobody' is unknown"),
    ],
)
def test_a_study_of_nothing_is_refused(tiny_bert, tiny_file, tmp_path, own, said):
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings=own)
    with pytest.raises(AdaRankError, match=said):
        list(study_iter(request, tmp_path))
