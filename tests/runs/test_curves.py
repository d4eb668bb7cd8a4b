import pandas as pd

from adarank_core.runs.curves import curve_table, mean_curve, seed_curves, smoothed, thinned


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


def test_an_arm_that_was_taken_over_keeps_its_curve():
    first = [plan("uniform", 0), *steps("uniform", 0, 3), event("result")]
    assert len(curve_table([*first, event("started"), event("result")], "train_loss")) == 3


def test_a_search_that_went_on_does_not_cut_the_curve():
    own = [plan("uniform", 0), *steps("uniform", 0, 4)]
    again = event("resumed", step=2, search=0.001)
    assert len(curve_table([*own, again], "train_loss")) == 4


def test_a_search_for_a_learning_rate_is_no_curve():
    searched = [{**step, "search": 0.001} for step in steps("uniform", 0, 5)]
    assert curve_table([event("started"), *searched], "train_loss").empty


def table(*rows):
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "value"])


def test_a_mean_is_of_the_seeds_that_came_as_far_as_the_farthest():
    rows = [("uniform", 0, 5, 1.0), ("uniform", 1, 5, 2.0), ("uniform", 0, 9, 0.5)]
    mean, seeds = mean_curve(seed_curves(table(*rows), "uniform"))
    assert (mean.to_dict(), seeds) == ({5: 1.0, 9: 0.5}, 1)
    mean, seeds = mean_curve(seed_curves(table(*rows, ("uniform", 1, 9, 1.5)), "uniform"))
    assert (mean.to_dict(), seeds) == ({5: 1.5, 9: 1.0}, 2)
    mean, seeds = mean_curve(seed_curves(table(*rows), "adarank"))
    assert mean.empty and seeds == 0


def test_smoothing_weighs_the_nearest_most_and_has_no_bias_to_the_start():
    values = pd.Series([1.0, 2.0, 2.0], [1, 2, 3])
    # Weights 1/2 and 1 at the second step, 1/4, 1/2 and 1 at the third.
    assert smoothed(values, 0.5).tolist() == [1.0, 2.5 / 1.5, 3.25 / 1.75]
    assert smoothed(values, 0.0) is values
    assert smoothed(pd.Series(dtype=float), 0.5).empty


def test_a_long_line_is_thinned_and_keeps_its_ends():
    line = thinned(pd.Series(range(1, 1001), range(1, 1001)))
    assert 200 < len(line) <= 402
    assert (line.index[0], line.index[-1]) == (1, 1000)
    longer = thinned(pd.Series(range(1, 1011), range(1, 1011)))
    assert set(line.index[:-1]) < set(longer.index)  # points do not jump while the line grows
    assert len(thinned(pd.Series(range(400)))) == 400
