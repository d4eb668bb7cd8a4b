from dataclasses import replace

import pytest

from adarank_core.scoring.leading import leading_modules


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


def places(modules):
    return {(module.family, module.layer) for module in modules}


def test_the_highest_leads_alone_where_no_bar_meets_its_own(scores):
    leading = leading_modules(with_values(scores, [0.5, 1, 1, 1, 1, 4], 0.01))
    assert places(leading) == {("value", 5)}


def test_all_whose_bars_meet_the_highest_lead_and_it_comes_first(scores):
    leading = leading_modules(with_values(scores, [0.5, 1, 1, 1, 3.9, 4], 0.05))
    assert [module.layer for module in leading] == [5, 4]
    assert len(leading_modules(with_values(scores, [1, 1, 1, 1, 1, 1.3], 0.1))) == 36  # 1.1, 1.2
    assert len(leading_modules(with_values(scores, [1, 1, 1, 1, 1, 1.3], 0.07))) == 1


def test_a_sure_ratio_in_a_weak_family_does_not_lead(scores):
    weak = with_values(scores, [0.001, 0.01, 0.01, 0.01, 0.01, 0.01], 0.0)
    strong = tuple(
        replace(module, score=50.0, standard_error=10.0) if module.family == "key" else module
        for module in weak.modules
    )
    leading = leading_modules(replace(weak, modules=strong))
    assert places(leading) == {("key", layer) for layer in range(6)}


def test_of_zeros_or_nothing_all_lead(scores):
    zeros = tuple(replace(m, score=0.0, standard_error=0.0) for m in scores.modules)
    assert len(leading_modules(replace(scores, modules=zeros))) == 36
    assert leading_modules(replace(scores, modules=())) == ()
