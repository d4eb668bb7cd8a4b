"""How a study is run: units kept one by one, taken over, stopped, read."""

from dataclasses import replace

import pytest

from adarank_core import AdaRankError
from adarank_core.files import read_json
from adarank_core.lab.studies import STUDIES, measure_share, study_iter, study_named
from adarank_core.lab.study import Study, StudyRequest, StudyResult


def squares(calls: list, stop_at: int | None = None, fail_at: int | None = None) -> Study:
    """A study of four units that squares numbers in two steps each."""

    def measure(bench, unit):
        yield 0.5
        if unit["number"] == fail_at:
            raise AdaRankError("the number is 3; it must be another")
        calls.append(unit["number"])
        return None if unit["number"] == stop_at else {"square": unit["number"] ** 2}

    return Study(
        "squares",
        "How large are squares?",
        {"most": 4},
        lambda bench: [{"number": number} for number in range(bench.settings["most"])],
        measure,
        lambda measured, settings: [
            {k: v for k, v in m.items() if k != "seconds"} for m in measured
        ],
        lambda rows: f"The largest is {rows[-1]['square']}.",
    )


@pytest.fixture
def request_for(tiny_bert, tiny_file):
    return lambda study, **changes: StudyRequest(study, tiny_bert, tiny_file, **changes)


def test_the_last_progress_has_the_answer_and_all_are_written(request_for, tmp_path):
    steps = list(study_iter(request_for(squares([])), tmp_path))
    last = steps[-1]
    assert [step.done for step in steps] == [0, 0, 0.5, 1, 1, 1.5, 2, 2, 2.5, 3, 3, 3.5, 4]
    assert last.result.answer == "The largest is 9."
    assert [row["square"] for row in last.result.rows] == [0, 1, 4, 9]
    assert StudyResult.from_dict(read_json(tmp_path / "study.json")) == last.result
    assert last.result.settings["most"] == 4 and last.result.settings["device"] == "cpu"


def test_what_is_measured_is_taken_over_and_nothing_else(request_for, tmp_path):
    calls, notices = [], []
    with pytest.raises(AdaRankError, match="must be another"):
        list(study_iter(request_for(squares(calls, fail_at=3)), tmp_path))
    so_far = StudyResult.from_dict(read_json(tmp_path / "study.json"))
    assert len(so_far.rows) == 3 and so_far.answer == ""
    (tmp_path / "units" / "001.json").write_text('{"square": 7}')
    calls.clear()
    *_, last = study_iter(request_for(squares(calls)), tmp_path, on_event=notices.append)
    assert calls == [1, 3] and [row["square"] for row in last.result.rows] == [0, 1, 4, 9]
    assert len(notices) == 1 and "measured anew: '001.json' is damaged" in notices[0]["message"]
    calls.clear()  # another seed's measurements are none of this one's
    list(study_iter(request_for(squares(calls), seed=1), tmp_path))
    assert calls == [0, 1, 2, 3]


def test_a_study_stops_when_asked_and_between_any_two_steps(request_for, tmp_path):
    calls = []
    *_, last = study_iter(request_for(squares(calls)), tmp_path, should_stop=lambda: len(calls) > 1)
    assert calls == [0, 1] and last.done == 2 and last.result.answer == ""
    answers = iter([False, True])  # asked before anything is measured, then within a unit
    *_, last = study_iter(
        request_for(squares(calls)), tmp_path, should_stop=lambda: next(answers, True)
    )
    assert calls == [0, 1] and last.done < 2.5
    *_, last = study_iter(request_for(squares(calls, stop_at=2)), tmp_path)  # as a training does
    assert calls == [0, 1, 2] and last.done == 2.5 and last.result is None
    steps = study_iter(request_for(squares(calls)), tmp_path)
    while next(steps).done < 2.5:
        pass
    steps.close()
    assert calls == [0, 1, 2]


def test_two_at_once_come_to_what_one_comes_to(tiny_bert, tiny_file, tmp_path):
    own = {"steps": 2, "batch_size": 4, "seeds": 2, "ranks": [1, 4]}
    request = StudyRequest(STUDIES["rank-binds"], tiny_bert, tiny_file, settings=own)
    *_, alone = study_iter(request, tmp_path / "alone")
    steps = list(study_iter(request, tmp_path / "two", at_once=2))
    # None was left for this process, which would tell of units that it begins.
    assert [step.done for step in steps] == [0, *range(1, 9)]
    for one, other in zip(alone.result.rows, steps[-1].result.rows, strict=True):
        for key, value in one.items():
            near = pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value
            assert other[key] == near, key
    assert len(steps[1].result.rows) < len(alone.result.rows)  # seen while it goes on


def test_what_the_other_processes_cannot_measure_is_measured_here(request_for, tmp_path):
    calls = []
    *_, last = study_iter(request_for(squares(calls)), tmp_path, at_once=2)  # known to none of them
    assert calls == [0, 1, 2, 3] and last.result.answer == "The largest is 9."


def test_a_share_is_whole_seeds_where_there_are_enough(request_for, tmp_path):
    calls, events = [], []
    study = squares(calls)
    measure_share(request_for(study), tmp_path, (1, 2), on_event=events.append)
    assert calls == [1, 3] and [event["place"] for event in events] == [1, 3]
    seeds = [{"number": n, "seed": 7 + n // 2} for n in range(4)]
    seeded = replace(study, units=lambda bench: seeds)
    calls.clear()
    measure_share(request_for(seeded), tmp_path / "seeds", (1, 2))
    assert calls == [0, 1]
    measure_share(request_for(seeded), tmp_path / "seeds", (0, 2), should_stop=lambda: True)
    assert calls == [0, 1]


def test_an_unknown_study_names_all():
    with pytest.raises(AdaRankError, match=f"'mine' is unknown; choose from {', '.join(STUDIES)}"):
        study_named("mine")


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_every_study_asks_a_question(study):
    assert study.question.endswith("?") and study.question[0].isupper()
    assert study.name == study.name.lower() and study.settings({}) == dict(study.defaults)
