import threading
from dataclasses import replace

import pytest

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.runs import run_queue
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


def test_what_two_sessions_ask_for_is_computed_once_and_both_watch_it(job, monkeypatch):
    from adarank_core.scoring import score as scoring

    started, score_iter = [], scoring.score_iter

    def counted(*given, **named):
        started.append(given)
        return score_iter(*given, **named)

    monkeypatch.setattr(scoring, "score_iter", counted)
    jobs = [replace(job).shared() for _ in range(2)]
    assert jobs[0] is jobs[1] and replace(job, seed=2).shared() is not jobs[0]
    steps, seen, together = [0, 0], [[], []], threading.Barrier(2)

    def session(at):
        together.wait(60)
        jobs[at].prepare()
        while jobs[at].advance():
            steps[at] += 1
            seen[at].append(jobs[at].done)
            if steps[at] == 1:
                together.wait(60)  # each has come to a step of its own

    sessions = [threading.Thread(target=session, args=(at,), daemon=True) for at in range(2)]
    for one in sessions:
        one.start()
    for one in sessions:
        one.join(60)
    assert len(started) == 1 and min(steps) > 0
    assert sum(steps) == jobs[0].done == jobs[0].total
    assert all(each == sorted(each) for each in seen)  # it only ever goes forward
    assert replace(job).shared() is not jobs[0]  # what is finished is under way no more


def test_scorings_wait_in_the_queue_and_are_told_their_place(job, home, monkeypatch):
    monkeypatch.setattr(run_queue, "at_once", lambda: 1)
    sessions = [replace(job, seed=seed).shared() for seed in range(4)]
    same = replace(job, seed=3).shared()
    # One more than there may be runs at once: a page does not wait for the run at work.
    assert [one.place() for one in sessions] == [0, 0, 1, 2] and same.place() == 2
    sessions[0].prepare()
    while sessions[0].advance():
        assert sessions[2].place() == 1
    assert [one.place() for one in sessions] == [0, 0, 0, 1]
    # Nobody waits for one that breaks off.
    sessions[1].texts = Texts("sentence", ("word " * 500,))
    with pytest.raises(AdaRankError, match="tokens"):
        sessions[1].prepare()
    assert sessions[3].place() == same.place() == 0


def test_the_time_left_is_about_right_in_the_last_round_alone(job):
    job.grid, job.total, job.seconds = tuple("abcd"), 12, 60.0
    said = []
    for job.done in (1, 8, 9, 12):
        said.append(job.time_words)
    assert said[:2] == ["at least 11 min left", "at least 30 s left"]
    assert said[2:] == ["about 20 s left", "about 5 s left"]


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
