from dataclasses import replace

import pytest

from adarank_core.scoring.layer_contrast import surest_pair


@pytest.fixture
def scores(made_up):
    return made_up()


def with_values(scores, values, error):
    """Give the value modules these scores, and every other module the same."""
    modules = tuple(
        replace(
            module,
            score=values[module.layer] if module.family == "value" else 1.0,
            standard_error=error,
        )
        for module in scores.modules
    )
    return replace(scores, modules=modules)


def places(pair):
    return [(module.family, module.layer) for module in pair]


def test_the_highest_and_the_lowest_are_found(scores):
    pair = surest_pair(with_values(scores, [0.5, 1, 1, 1, 1, 4], 0.01))
    assert places(pair) == [("value", 5), ("value", 0)]


def test_bars_that_meet_are_no_difference(scores):
    assert surest_pair(with_values(scores, [0.9, 1, 1, 1, 1, 1.2], 0.1)) is None
    assert surest_pair(with_values(scores, [1, 1, 1, 1, 1, 1.3], 0.1)) is None  # 1.1 under 1.2
    assert surest_pair(with_values(scores, [1, 1, 1, 1, 1, 1.3], 0.07)) is not None


def test_a_large_but_uncertain_ratio_is_not_chosen(scores):
    sure = with_values(scores, [1, 1, 1, 1, 1, 3], 0.01)
    wild = tuple(
        replace(module, score=0.01 if module.layer else 5.0, standard_error=2.4)
        if module.family == "key"
        else module
        for module in sure.modules
    )
    assert surest_pair(replace(sure, modules=wild))[0].family == "value"


def test_one_layer_or_zeros_give_no_pair(scores):
    one = tuple(module for module in scores.modules if module.layer == 0)
    assert surest_pair(replace(scores, modules=one)) is None
    zeros = tuple(replace(m, score=0.0, standard_error=0.0) for m in scores.modules)
    assert surest_pair(replace(scores, modules=zeros)) is None
    assert surest_pair(replace(scores, modules=())) is None
