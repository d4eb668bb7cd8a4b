import pytest

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from pages.parts.explore.scoring_job import ScoringJob
from pages.parts.shared import cached


@pytest.fixture
def job(tiny_bert, texts, monkeypatch):
    from adarank_core.scoring.models import load_model

    monkeypatch.setattr(cached, "model", load_model)
    return ScoringJob(tiny_bert, 2, Texts("mine", tuple(texts)), 3, 1, "generic", "")


def test_a_job_ends_with_the_scores_that_the_core_gives(job):
    from adarank_core import load_model, score

    assert job.seconds_left is None
    job.prepare()
    steps = 0
    while job.advance():
        steps += 1
        assert job.done == steps <= job.total
        job.prepare()  # as a rerun of the page does: it must not start again
    assert job.seconds_left == 0
    assert job.scores == score(load_model(job.model), job.texts, trials=3, seed=1)
    assert [place.name for place in job.grid] == [module.name for module in job.scores.modules]
    assert not job.advance()


def test_the_key_tells_everything_apart_that_the_scores_depend_on(job):
    from dataclasses import replace

    changes = [
        {"model": "other"},
        {"labels": 3},
        {"texts": Texts("mine", ("another",))},
        {"texts": Texts("yours", job.texts.items)},
        {"trials": 4},
        {"seed": 2},
    ]
    keys = {replace(job, **change).key for change in changes}
    assert len(keys) == len(changes)
    assert job.key not in keys
    assert replace(job).key == job.key


def test_bad_texts_are_told_before_any_scoring(job):
    job.texts = Texts("sentence", ("word " * 500,))
    with pytest.raises(AdaRankError, match="tokens"):
        job.prepare()


def test_progress_counts_rounds_where_there_are_several(job):
    job.grid, job.done, job.total = tuple("abcd"), 3, 4
    assert job.step_words == "3 of 4 modules"
    said = []
    for job.done in range(1, 13):
        job.total = 12
        said.append(job.step_words)
    assert said[0] == "round 1 of 3 · 1 of 4 modules"
    assert said[3:5] == ["round 1 of 3 · 4 of 4 modules", "round 2 of 3 · 1 of 4 modules"]
    assert said[-1] == "round 3 of 3 · 4 of 4 modules"
