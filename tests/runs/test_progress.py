import pytest

from adarank_core.runs.progress import (
    arm_facts,
    curve_table,
    duration,
    finished_results,
    progress_of,
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


def test_curves_are_kept_apart_by_arm_and_seed():
    events = [*steps("uniform", 0, 2), *steps("adarank", 0, 1), *steps("uniform", 1, 1)]
    rows = curve_table(events, "train_loss").values.tolist()
    assert rows == [
        ["uniform", 0, 1, 1.9],
        ["uniform", 0, 2, 1.8],
        ["adarank", 0, 1, 1.9],
        ["uniform", 1, 1, 1.9],
    ]
    assert curve_table(events, "validation_loss").empty


def test_an_arm_that_was_begun_again_is_drawn_once():
    first = [plan("uniform", 0), *steps("uniform", 0, 3)]
    again = [event("started"), plan("uniform", 0), *steps("uniform", 0, 2)]
    assert list(curve_table(first + again, "train_loss")["step"]) == [1, 2]


def test_an_arm_that_went_on_from_a_checkpoint_keeps_what_came_before_it():
    first = [plan("uniform", 0), *steps("uniform", 0, 5)]
    later = steps("uniform", 0, 6)[3:]
    again = [event("started"), plan("uniform", 0), event("resumed", step=3), *later]
    assert list(curve_table(first + again, "train_loss")["step"]) == [1, 2, 3, 4, 5, 6]


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


def test_an_arm_that_was_taken_over_keeps_its_curve():
    first = [plan("uniform", 0), *steps("uniform", 0, 3), event("result")]
    assert len(curve_table([*first, event("started"), event("result")], "train_loss")) == 3


def test_results_of_a_resumed_run_count_once():
    about = {"lora_parameters": 100, "test_loss": 0.5}
    events = [
        event("result", seed=0, allocation_seconds=2.0, **about),
        event("result", seed=0, allocation_seconds=2.0, **about),
        event("result", seed=1, allocation_seconds=4.0, **about),
    ]
    found = finished_results(events)["uniform"]
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert found["allocation_seconds"] == 3.0
    assert found["runs"][0] == {"seed": 0, "test_loss": 0.5}
    assert arm_facts([plan("uniform", 0)]) == {"uniform": {"lora_parameters": 100}}


def test_what_is_being_done_now():
    def now(*events):
        return progress_of(CONFIG, events).now

    assert progress_of({}, ()).now.startswith("starting")
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
    return [{**one, "search": rate} for one in steps(arm, 0, until, start)]


GRID = {**CONFIG, "arms": ["uniform"], "seeds": [0], "learning_rates": [0.001, 0.005]}


def test_a_search_is_no_curve_but_counts_as_work():
    events = [event("started"), *searched("uniform", 0.001, 5)]
    assert curve_table(events, "train_loss").empty
    at = progress_of(GRID, events)
    assert at.share == pytest.approx(0.5 / 3)  # two trainings of the search, and the arm's own
    assert at.now == "uniform: trying learning rate 0.001, step 5 of 10"
    assert at.seconds_left == pytest.approx(25)


def test_a_chosen_rate_ends_the_search_of_its_arm():
    losses = {"0.001": 0.5, "0.005": 0.6}
    chosen = event("chosen", learning_rate=0.001, search_seconds=20.0, validation_loss=losses)
    events = [event("started"), *searched("uniform", 0.001, 10), chosen]
    assert curve_table(events, "validation_loss").empty
    at = progress_of(GRID, events)
    assert at.share == pytest.approx(2 / 3)
    assert at.now == "uniform: learning rate 0.001 is chosen"
    assert arm_facts(events)["uniform"] == {"learning_rate": 0.001, "search_seconds": 20.0}


def test_a_search_that_went_on_does_not_cut_the_curve():
    own = [plan("uniform", 0), *steps("uniform", 0, 4)]
    again = event("resumed", step=2, search=0.001)
    assert len(curve_table([*own, again], "train_loss")) == 4


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


def test_an_arm_that_failed_is_told_until_it_is_tried_again():
    failed = event("arm-failed", "adarank", 1, message="memory ran out")
    events = [event("started"), {**plan("adarank", 1), "residual": 12}, failed]
    facts = arm_facts(events)["adarank"]
    assert facts["failed"] == "seed 1: memory ran out"
    assert facts["residual"] == 12
    for again in (event("started"), plan("adarank", 1)):
        assert "failed" not in arm_facts([*events, again])["adarank"]
    assert "failed" in arm_facts([*events, plan("adarank", 0)])["adarank"]  # another seed's
