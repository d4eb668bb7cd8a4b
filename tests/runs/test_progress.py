import json
from itertools import product
from pathlib import Path

import pytest

from adarank_core.comparison.learning_rates import SEARCH_SEEDS
from adarank_core.runs.jobs import Run
from adarank_core.runs.progress import (
    ComparisonWork,
    duration,
    seconds_expected,
    seconds_left,
    study_progress,
)

CONFIG = {"arms": ["uniform", "adarank"], "seeds": [0, 1], "settings": {"steps": 10}}


def event(kind, arm="uniform", seed=0, time=0.0, **more):
    return {"event": kind, "arm": arm, "seed": seed, "time": time, **more}


def steps(arm, seed, until, start=0.0):
    return [
        event("step", arm, seed, start + step, step=step, train_loss=2.0 - step / 10)
        for step in range(1, until + 1)
    ]


def plan(arm, seed, time=0.0):
    return event("plan", arm, seed, time, budget={"lora_parameters": 100})


def progress_of(config, events):
    work = ComparisonWork(config)
    for one in events:
        work.add(one)
    return work.progress()


def test_the_pace_of_an_arm_that_went_on_is_that_of_its_own_steps():
    events = [event("started"), plan("uniform", 0), event("resumed", step=6)]
    config = {"arms": ["uniform"], "seeds": [0], "settings": {"steps": 10}}
    assert progress_of(config, events).share == 0.6
    at = progress_of(config, [*events, *steps("uniform", 0, 9)[6:]])  # one second a step
    assert at.seconds_left == pytest.approx(1.0)


def test_an_arm_that_was_given_up_is_not_waited_for():
    failed = event("arm-failed", "adarank", 0, message="the loss is not finite")
    at = progress_of(CONFIG, [event("started"), failed])
    assert at.share == pytest.approx(2 / 3) and "given up" in at.now  # nor are its ranks


def test_what_is_being_done_now():
    def now(*events):
        return progress_of(CONFIG, events).now

    assert now(event("started")) == "loading the task and the model"
    assert (
        now(event("score", "adarank", 0, done=12, total=36)) == "ranks of adarank seed 0: 12 of 36"
    )
    assert now(*steps("uniform", 1, 4)) == "uniform seed 1: step 4 of 10"
    assert "test texts" in now(*steps("uniform", 1, 10))


def test_the_share_grows_from_nothing_to_all():
    events = [event("started")]
    for seed in (0, 1):
        events += [plan("uniform", seed), *steps("uniform", seed, 10), event("result", seed=seed)]
        events += [event("score", "adarank", seed, done=done, total=4) for done in range(1, 5)]
        events += [plan("adarank", seed), *steps("adarank", seed, 10)]
        events += [event("result", "adarank", seed)]
    shares = [progress_of(CONFIG, events[: at + 1]).share for at in range(len(events))]
    assert shares == sorted(shares)
    assert shares[0] == 0 and shares[-1] == pytest.approx(1)


def test_time_left_follows_the_pace():
    events = [plan("uniform", 0, time=0.0), *steps("uniform", 0, 5, start=50.0)]
    found = progress_of(CONFIG, events)
    # Three and a half trainings of ten steps at one second a step; scoring is not measured yet.
    assert found.seconds_left == pytest.approx(35)
    assert found.at_least
    scored = [
        event("score", "adarank", 0, time=100.0 + 2 * done, done=done, total=4) for done in (1, 4)
    ]
    found = progress_of(CONFIG, [*events, *scored])
    assert found.seconds_left == pytest.approx(35 + 8)
    assert not found.at_least


def test_nothing_is_foretold_before_anything_was_measured():
    assert progress_of(CONFIG, [event("started"), plan("uniform", 0)]).seconds_left is None


def test_permuted_shares_the_scores_of_adarank():
    config = {**CONFIG, "arms": ["adarank", "permuted"], "seeds": [0]}
    scored = event("score", "adarank", 0, done=4, total=4)
    assert progress_of(config, [scored]).share == pytest.approx(1 / 3)  # one scoring, two trainings
    alone = {**config, "arms": ["permuted"]}
    scored = event("score", "permuted", 0, done=4, total=4)
    assert progress_of(alone, [scored]).share == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "5 s"), (58, "1 min"), (61, "1 min"), (599, "10 min")]
)
def test_durations_are_round(seconds, words):
    assert duration(seconds) == words


def searched(arm, rate, until, start=0.0):
    seed = SEARCH_SEEDS[0]
    return [{**one, "search": rate, "seed": seed} for one in steps(arm, 0, until, start)]


GRID = {**CONFIG, "arms": ["uniform"], "seeds": [0], "learning_rates": [0.001, 0.005]}


def test_a_search_counts_as_work():
    events = [event("started"), *searched("uniform", 0.001, 5)]
    at = progress_of(GRID, events)
    assert at.share == pytest.approx(0.5 / 5)  # two rates with two seeds, and the arm's own
    assert at.now == "uniform: trying learning rate 0.001, step 5 of 10"
    assert at.seconds_left == pytest.approx(45)


def test_a_grid_that_grows_is_more_work_with_every_rate():
    grows = {**GRID, "learning_rates": "auto"}
    begun = [event("started"), *searched("uniform", 0.005, 10)]
    assert progress_of(grows, begun).share == pytest.approx(1 / 7)  # three rates to begin with
    grown = [*begun, *searched("uniform", 0.02, 10)]
    assert progress_of(grows, grown).share == pytest.approx(2 / 8)


def test_a_chosen_rate_ends_the_search_of_its_arm():
    losses = {"0.001": 0.5, "0.005": 0.6}
    chosen = event("chosen", learning_rate=0.001, search_seconds=20.0, validation_loss=losses)
    events = [event("started"), *searched("uniform", 0.001, 10), chosen]
    at = progress_of(GRID, events)
    assert at.share == pytest.approx(4 / 5)
    assert at.now == "uniform: learning rate 0.001 is chosen"


SIDE = {**CONFIG, "arms": ["uniform"], "seeds": [0, 1, 2], "side_by_side": 2}


def test_all_seeds_at_work_side_by_side_are_told():
    speed = {"examples_per_second": 40.0, "memory_mb": 500}
    first, second = (
        [{**one, **speed} for one in steps("uniform", seed, until)]
        for seed, until in ((0, 5), (1, 3))
    )
    at = progress_of(SIDE, [event("started"), *first, *second])
    assert at.now == "uniform seed 0: step 5 of 10 · uniform seed 1: step 3 of 10"
    assert (at.examples_per_second, at.memory_mb) == (80.0, 1000)
    done = progress_of(SIDE, [event("started"), *second, *first, event("result", seed=0, time=9.0)])
    assert done.now == "uniform seed 1: step 3 of 10"


def test_the_time_left_counts_how_many_work_side_by_side():
    events = [event("started"), *steps("uniform", 0, 5)]  # ten seconds a training
    alone = progress_of({**SIDE, "side_by_side": 1}, events)
    assert alone.seconds_left == pytest.approx(25)
    assert progress_of(SIDE, events).seconds_left == pytest.approx(12.5)
    # However many work at the same time, one training cannot be split.
    assert progress_of({**SIDE, "side_by_side": 3}, events).seconds_left == pytest.approx(10)


def test_speed_and_memory_are_of_the_last_step():
    told = [
        {**step, "examples_per_second": 10.0 * step["step"], "memory_mb": 100 + step["step"]}
        for step in steps("uniform", 0, 3)
    ]
    evaluation = event("evaluation", step=3, validation_loss=1.0)
    at = progress_of(CONFIG, [plan("uniform", 0), *told, evaluation])
    assert (at.examples_per_second, at.memory_mb) == (30.0, 103)
    assert progress_of(CONFIG, [*told, event("result")]).examples_per_second is None


def test_a_training_that_went_on_says_so():
    events = [event("started"), plan("uniform", 0), event("resumed", step=6)]
    assert progress_of(CONFIG, events).now == "uniform seed 0: going on after step 6"
    now = progress_of(CONFIG, [*events, *steps("uniform", 0, 7)[6:]]).now
    assert now == "uniform seed 0: step 7 of 10, went on after step 6"
    again = [event("started"), plan("uniform", 0), *steps("uniform", 0, 2)]
    assert progress_of(CONFIG, [*events, *again]).now == "uniform seed 0: step 2 of 10"


LAUNCHED = {
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform", "adarank"],
    "seeds": [0, 1],
    "settings": {"steps": 10, "batch_size": 32},
}


def earlier(folder, pace=3.0, start=5.0, test=7.0, taken=10, loading=4.0, **changes):
    """A run whose trainings begin in 5 seconds, take 3 a step and read test texts for 7."""
    now, lines = 100.0 + loading, [{"event": "started", "time": 100.0}]
    for seed, (arm, ranks) in product((0, 1), (("uniform", 0.0), ("adarank", 5.0))):
        about = {"arm": arm, "seed": seed}
        now += ranks
        lines.append({"event": "plan", **about, "budget": {}, "time": now})
        now += start
        for step in range(1, taken + 1):
            now += pace if step > 1 else 0.0
            lines.append({"event": "step", **about, "step": step, "time": now})
            if step % max(1, taken // 2) == 0:  # as many however long it is
                now += 0.5
                lines.append({"event": "evaluation", **about, "step": step, "time": now})
        now += test
        size = {"lora_parameters": 9, "allocation_seconds": ranks, "test_loss": 0.5}
        lines.append({"event": "result", **about, **size, "steps": taken, "time": now})
    lines.append({"event": "finished", "time": now})
    folder.mkdir(exist_ok=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Run(folder, {**LAUNCHED, **changes}, "finished"), now - 100.0


def test_the_time_is_foretold_from_a_run_that_was_alike(tmp_path):
    run, took = earlier(tmp_path / "run")
    # Loading; two arms and two seeds, each with its start, nine steps, validation and test.
    assert took == 4 + 4 * (5 + 9 * 3 + 2 * 0.5 + 7) + 2 * 5
    assert seconds_expected(LAUNCHED, [run]) == pytest.approx(took)
    grid = {**LAUNCHED, "learning_rates": [0.001, 0.005]}
    assert seconds_expected(grid, [run]) == pytest.approx(4 + 2 * (2 + 2 * 2) * 40 + 2 * 5)
    alone = {**LAUNCHED, "arms": ["uniform"]}  # which needs no ranks
    assert seconds_expected(alone, [run]) == pytest.approx(4 + 2 * 40)


def test_what_is_not_steps_is_not_multiplied_by_steps(tmp_path):
    """Ten steps of a hundredth of a second, where start and test take nearly all of the time."""
    (short, took), (_, wanted) = (
        earlier(tmp_path / str(steps), pace=0.01, taken=steps) for steps in (10, 40)
    )
    longer = {**LAUNCHED, "settings": {"steps": 40, "batch_size": 32}}
    foretold = seconds_expected(longer, [short])
    assert foretold == pytest.approx(wanted, rel=0.1) and took > 0.9 * wanted
    beside, _ = earlier(tmp_path / "beside", side_by_side=2)
    alone, _ = earlier(tmp_path / "alone")
    both = [seconds_expected(LAUNCHED, [run]) - 4 for run in (beside, alone)]
    assert 2 * both[0] == pytest.approx(both[1])  # two seeds at once


def test_nothing_is_foretold_from_a_run_that_was_other_or_is_damaged(tmp_path):
    assert seconds_expected(LAUNCHED, []) is None
    assert seconds_expected(LAUNCHED, [earlier(tmp_path / "other", task="trec")[0]]) is None
    assert seconds_expected(LAUNCHED, [Run(Path("none"), LAUNCHED, "finished")]) is None
    assert seconds_expected(LAUNCHED, [earlier(tmp_path / "one", taken=1)[0]]) is None  # no pace
    run, _ = earlier(tmp_path / "damaged")
    assert seconds_expected(LAUNCHED, [run]) is not None
    (run.folder / "events.jsonl").write_text('{"event": "result"}\n[]\n{')
    assert seconds_expected(LAUNCHED, [run]) is None


def test_the_time_left_is_that_of_the_pace_so_far():
    assert seconds_left(0, 9, 3.0) is None
    assert seconds_left(3, 9, 6.0) == 12.0 and seconds_left(9, 9, 6.0) == 0.0


def test_a_study_that_goes_on_takes_nothing_for_measured_that_was_taken_over():
    def told(*events):
        said = {"event": "study", "now": "noise"}
        return study_progress(
            [{"event": "started"}]
            + [{**said, "done": done, "total": total, "time": time} for done, total, time in events]
        )

    assert told().now.startswith("starting") and told((0, 0, 0.0)).now == "noise"
    taken_over = ((0, 0, 0.0), (1, 6, 5.0), (2, 6, 5.0), (2, 6, 5.0))
    assert told(*taken_over).seconds_left is None and told(*taken_over).share == 2 / 6
    assert told(*taken_over, (3, 6, 15.0)).seconds_left == 30.0  # three left of ten seconds each
    assert told(*taken_over, (3, 6, 15.0), (3, 6, 15.0), (4, 6, 35.0)).seconds_left == 30.0
