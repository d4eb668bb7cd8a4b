"""From fractions of a rank to whole ones, held against every other way to do it."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adarank_core.ranks.rounding import apportion, proportional, round_down, rounded, spend_rest

weights = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 1.0, 2.5, 9.0]), st.integers(1, 5), st.integers(2, 9)),
    min_size=1,
    max_size=6,
)


@given(weights, st.integers(0, 2), st.floats(0, 1))
def test_shares_meet_the_budget_and_are_clipped_proportions(modules, lowest, fullness):
    wanted, costs, caps = (list(column) for column in zip(*modules, strict=True))
    least = sum(cost * lowest for cost in costs)
    most = sum(cost * cap for cost, cap in zip(costs, caps, strict=True))
    budget = round(least + fullness * (most - least))
    shares = proportional(wanted, costs, budget, [lowest] * len(costs), caps)
    assert sum(c * s for c, s in zip(costs, shares, strict=True)) == pytest.approx(budget)
    assert all(lowest <= share <= cap for share, cap in zip(shares, caps, strict=True))
    inside = [
        share / score
        for share, score, cap in zip(shares, wanted, caps, strict=True)
        if score and lowest + 1e-9 < share < cap - 1e-9
    ]
    assert not inside or max(inside) == pytest.approx(min(inside))
    for share, score, cap in zip(shares, wanted, caps, strict=True):
        if lowest == cap:
            continue
        if inside and score and share >= cap - 1e-9:
            assert cap / score <= inside[0] * (1 + 1e-6)
        if inside and score and share <= lowest + 1e-9:
            assert lowest / score >= inside[0] * (1 - 1e-6)


def best_rounding(shares, costs, budget, caps):
    """Try all ways to round up or down: the least left over, then the largest remainders."""
    floors = [math.floor(share + 1e-9) for share in shares]
    ways = []
    for ups in itertools.product((0, 1), repeat=len(shares)):
        ranks = [floor + up for floor, up in zip(floors, ups, strict=True)]
        left = budget - sum(cost * rank for cost, rank in zip(costs, ranks, strict=True))
        if left >= 0 and all(rank <= cap for rank, cap in zip(ranks, caps, strict=True)):
            gained = sum(up * (s - f) for up, s, f in zip(ups, shares, floors, strict=True))
            ways.append((left, -gained))
    return min(ways)


@settings(max_examples=300)
@given(weights, st.floats(0, 1))
def test_rounding_is_the_best_of_all_ways(modules, fullness):
    wanted, costs, caps = (list(column) for column in zip(*modules, strict=True))
    most = sum(cost * cap for cost, cap in zip(costs, caps, strict=True))
    budget = round(fullness * most)
    shares = proportional(wanted, costs, budget, [0] * len(costs), caps)
    ranks = rounded(shares, costs, budget, [0] * len(costs), caps)
    left = budget - sum(cost * rank for cost, rank in zip(costs, ranks, strict=True))
    best_left, best_gain = best_rounding(shares, costs, budget, caps)
    near = all(abs(rank - share) < 1 + 1e-9 for rank, share in zip(ranks, shares, strict=True))
    if near:  # no further step was left over
        assert left == best_left
        gained = sum(
            share - math.floor(share + 1e-9)
            for rank, share in zip(ranks, shares, strict=True)
            if rank > share + 1e-9
        )
        assert gained == pytest.approx(-best_gain, abs=1e-6)
    else:
        assert 0 <= left < best_left
    assert all(0 <= rank <= cap for rank, cap in zip(ranks, caps, strict=True))
    like = list(zip(costs, caps, shares, ranks, strict=True))
    for (*size, share, rank), (*other_size, other_share, other_rank) in itertools.permutations(
        like, 2
    ):
        if size == other_size and share > other_share + 1e-6:
            assert rank >= other_rank


@given(st.lists(st.floats(0, 20), min_size=1, max_size=8), st.data())
def test_equal_costs_are_the_largest_remainder_method(shares, data):
    budget = round(sum(shares))
    assume(budget > 0 and sum(shares) > 0)
    shares = [share * budget / sum(shares) for share in shares]
    remainders = sorted(share - math.floor(share) for share in shares)
    assume(all(b - a > 1e-6 for a, b in itertools.pairwise(remainders)))
    assume(remainders[0] > 1e-6 and remainders[-1] < 1 - 1e-6)
    left = budget - sum(math.floor(share) for share in shares)
    first = sorted(range(len(shares)), key=lambda at: math.floor(shares[at]) - shares[at])[:left]
    n = len(shares)
    expected = [math.floor(share) + (at in first) for at, share in enumerate(shares)]
    assert rounded(shares, [1] * n, budget, [0] * n, [99] * n) == expected


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(0, 200) | st.integers(1, 10**7), st.integers(2, 9)),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 2),
    st.data(),
)
def test_equal_costs_spend_every_unit_whatever_lies_between_the_weights(modules, lowest, data):
    wanted, caps = (list(column) for column in zip(*modules, strict=True))
    budget = data.draw(st.integers(lowest * len(caps), sum(caps)))
    costs, lows = [1] * len(caps), [lowest] * len(caps)
    for power in (1, 3):  # the third power lies up to 1e21 apart
        shares = proportional([float(want) ** power for want in wanted], costs, budget, lows, caps)
        ranks = rounded(shares, costs, budget, lows, caps)
        assert sum(ranks) == budget
        assert all(lowest <= rank <= cap for rank, cap in zip(ranks, caps, strict=True))


def test_a_bound_that_is_met_exactly_is_met():
    assert 8 / 49 * 49 < 8  # in floating point
    shares = proportional([1.0, 1.0, 49.0, 4611.0, 0.0], [1] * 5, 28, [0] * 5, [8] * 5)
    assert shares == pytest.approx([6, 6, 8, 8, 0], abs=1e-12)


# Whole numbers beyond what floats hold


def test_small_modules_keep_their_proportion_beside_one_of_any_size():
    huge = 10**20  # floats are 16384 apart there
    shares = proportional([1e6, 3.0, 7.0], [huge, 1, 1], 5 * huge + 10, [0] * 3, [5, 64, 64])
    assert shares == pytest.approx([5, 3, 7], abs=1e-9)
    shares = proportional([1e6, 0.0, 0.0], [huge, 1, 3], 5 * huge + 40, [0] * 3, [5, 64, 64])
    assert shares == pytest.approx([5, 10, 10], abs=1e-9)


@given(st.lists(st.integers(1, 10**30), min_size=1, max_size=6), st.integers(0, 10**30))
def test_a_whole_number_is_split_without_loss(weights, total):
    parts = apportion(total, weights)
    assert sum(parts) == total
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    assert all(abs(part - share) < 1 for part, share in zip(parts, exact, strict=True))
    up = [share % 1 for part, share in zip(parts, exact, strict=True) if part > share]
    down = [share % 1 for part, share in zip(parts, exact, strict=True) if part < share]
    assert min(up, default=1) >= max(down, default=0)


@given(
    st.lists(
        st.tuples(st.floats(0, 10**6), st.integers(1, 10**15), st.integers(0, 3)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 10**16),
)
def test_rounding_down_costs_no_more_than_the_budget(modules, less):
    shares, costs, lowest = (list(column) for column in zip(*modules, strict=True))
    shares = [max(share, low) for share, low in zip(shares, lowest, strict=True)]
    least = sum(cost * low for cost, low in zip(costs, lowest, strict=True))
    exact = sum(cost * Fraction(share) for cost, share in zip(costs, shares, strict=True))
    budget = max(least, math.floor(exact) - less)
    ranks = round_down(shares, costs, budget, lowest)
    assert sum(cost * rank for cost, rank in zip(costs, ranks, strict=True)) <= budget
    assert all(low <= rank for rank, low in zip(ranks, lowest, strict=True))


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(5, 30)), min_size=1, max_size=6
    ),
    st.integers(0, 500),
)
def test_the_rest_is_spent_one_round_after_another(modules, rest):
    ranks, costs, caps = (list(column) for column in zip(*modules, strict=True))
    expected, left, before = list(ranks), rest, None
    while left != before:
        before = left
        for at in range(len(ranks)):
            if costs[at] <= left and expected[at] < caps[at]:
                expected[at] += 1
                left -= costs[at]
    spend_rest(ranks, costs, caps, rest, range(len(ranks)))
    assert ranks == expected


def test_a_rest_of_any_size_is_spent_at_once():
    ranks = [1, 0, 2]
    spend_rest(ranks, [1, 2, 10**30], [10**25, 10**25, 9], 10**24, [0, 1, 2])
    assert ranks[2] == 2 and ranks[0] + 2 * ranks[1] == 10**24 + 1
    assert abs(ranks[0] - ranks[1]) <= 2
