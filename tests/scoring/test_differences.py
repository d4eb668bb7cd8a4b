from dataclasses import replace

import numpy as np
import pytest

from adarank_core.errors import AdaRankError
from adarank_core.scoring.differences import share_differences


def test_the_error_of_a_share_is_the_spread_of_many(made_up):
    # Few modules, so that each is much of the sum, in which its error is too.
    first, second = (
        replace(one, modules=tuple(replace(m, standard_error=0.03) for m in one.modules[:4]))
        for one in (made_up(0, 0.5), made_up(1, 0.5))
    )
    draw = np.random.default_rng(0)
    values = [np.array([m.score for m in one.modules]) for one in (first, second)]
    drawn = [value + 0.03 * draw.standard_normal((20_000, 4)) for value in values]
    shares = [one / one.sum(axis=1, keepdims=True) for one in drawn]
    found = shares[1] - shares[0]
    differences = share_differences(first, second)
    errors = [one.error for one in differences]
    assert errors == pytest.approx(found.std(axis=0), rel=0.03)
    assert [one.difference for one in differences] == pytest.approx(found.mean(axis=0), abs=1e-3)


def test_shares_do_not_hang_on_the_size_of_the_logits(made_up):
    first = made_up()
    larger = [replace(m, score=9 * m.score) for m in reversed(first.modules)]
    for one in share_differences(first, replace(first, modules=tuple(larger))):
        assert one.difference == pytest.approx(0, abs=1e-12)
    assert sum(one.first for one in share_differences(first, first)) == pytest.approx(1)


def test_other_modules_are_refused(made_up):
    fewer = replace(made_up(), modules=made_up().modules[1:])
    with pytest.raises(AdaRankError, match="same modules"):
        share_differences(made_up(), fewer)


def test_without_errors_or_scores_nothing_breaks(made_up):
    silent = [replace(m, score=0.0, standard_error=0.0) for m in made_up().modules]
    silent = replace(made_up(), modules=tuple(silent))
    assert {one.errors_apart for one in share_differences(silent, silent)} == {0.0}
    sure = [replace(m, standard_error=0.0) for m in made_up().modules]
    apart = share_differences(silent, replace(made_up(), modules=tuple(sure)))
    assert {one.errors_apart for one in apart} == {np.inf}
