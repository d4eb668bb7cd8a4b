"""Budgets, bounds and pins over modules: what is refused says which two wishes conflict."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adarank_core import AdaRankError, ModuleScore, Scores, allocate, uniform_plan
from adarank_core.ranks.constraints import constraints

TEXTS = {"source": "list", "count": 1, "sha256": "00"}
SIZES = [(8, 8), (8, 32), (32, 8), (16, 16), (12, 8)]


def scores_of(modules):
    """Make scores of (score, in_features, out_features)."""
    listed = tuple(
        ModuleScore(f"layer.{at:03}", at, f"family {at % 2}", inputs, outputs, score, 0.0)
        for at, (score, inputs, outputs) in enumerate(modules)
    )
    return Scores("tiny", "paper", "paired", 1.0, 0, TEXTS, listed)


some_scores = st.one_of(
    st.floats(1e-6, 1e6), st.just(0.0), st.floats(0.5, 2), st.integers(1, 3).map(float)
)
modules = st.lists(
    st.tuples(some_scores, st.sampled_from(SIZES)).map(lambda m: (m[0], *m[1])),
    min_size=1,
    max_size=12,
)

FOUR = scores_of([(1.0, 16, 16), (2.0, 16, 16), (3.0, 16, 16), (4.0, 16, 48)])
ONE, TWO, THREE = "layer.000", "layer.001", "layer.002"
ALL = [module.name for module in FOUR.modules]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adaptive": True, "rounding": "floor"}, "adaptive conflicts with rounding 'floor'"),
        # the budget against a bound
        ({"average_rank": 3, "min_rank": 4}, "(average rank 3) conflicts with min_rank 4: it is "),
        ({"average_rank": 9, "max_rank": 8}, "conflicts with max_rank 8: it is above 32"),
        ({"average_rank": 17}, "conflicts with the modules' sizes: it is above 64"),
        ({"average_rank": 17, "max_rank": 8}, "conflicts with the modules' sizes: it is above 32"),
        ({"average_rank": 2, "pinned": {ONE: 9}}, "conflicts with the pinned ranks: it is below 9"),
        (
            {"average_rank": 2, "pinned": {ONE: 6}},
            "conflicts with min_rank 1 beside the pinned modules: it is below 9",
        ),
        (
            {"average_rank": 8, "pinned": {ONE: 1}, "max_rank": 9},
            "conflicts with max_rank 9 beside the pinned modules: it is above 28",
        ),
        (
            {"average_rank": 14, "pinned": {ONE: 1, TWO: 1}},
            "conflicts with the pinned and excluded modules: it is above 34",
        ),
        (
            {"average_rank": 14, "excluded": [ONE]},
            "conflicts with the pinned and excluded modules: it is above 48",
        ),
        ({"average_rank": 8, "pinned": dict.fromkeys(ALL, 4)}, "the pinned and excluded modules"),
        ({"average_rank": 8, "min_rank": 17}, "above the largest rank of 'layer.000', which is 16"),
        ({"average_rank": 5, "max_rank": 4, "group_by": "family"}, "for the family 'family 0'"),
        # pins and exclusions
        ({"pinned": {ONE: 3}, "excluded": [ONE]}, "'layer.000' is both pinned to 3 and excluded"),
        ({"pinned": {"x": 3}}, "pinned names 'x'"),
        ({"excluded": ["x"]}, "excluded names 'x'"),
        ({"pinned": {ONE: 17}}, "pinned rank of 'layer.000' is 17"),
        ({"pinned": {ONE: -1}}, "pinned rank of 'layer.000' is -1"),
        ({"pinned": {ONE: 2.5}}, "pinned rank of 'layer.000' is 2.5"),
        ({"pinned": {ONE: True}}, "pinned rank of 'layer.000' is True"),
        ({"excluded": ALL}, "all 4 modules are excluded"),
        ({"excluded": ALL, "adaptive": True}, "no module would have a rank above 0"),
        ({"share": 50}, "above"),
    ],
    ids=str,
)
def test_wishes_that_cannot_be_met_name_what_conflicts(options, message):
    with pytest.raises(AdaRankError) as caught:
        allocate(FOUR, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("score", [math.nan, math.inf, -1.0])
def test_scores_that_are_no_numbers_are_refused(score):
    broken = replace(FOUR, modules=(replace(FOUR.modules[0], score=score), *FOUR.modules[1:]))
    with pytest.raises(AdaRankError, match=r"the score of 'layer.000' is"):
        allocate(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_features": 0}, "in_features of 'layer.000' is 0"),
        ({"out_features": 2.5}, "out_features of 'layer.000' is 2.5"),
        ({"in_features": 10**12 + 1}, "in_features of 'layer.000' is 1000000000001"),
        ({"standard_error": math.nan}, "the standard error of 'layer.000' is nan"),
        ({"score": "1"}, "the score of 'layer.000' is '1'"),
    ],
    ids=str,
)
def test_modules_that_cannot_be_counted_with_are_refused(change, message):
    broken = replace(FOUR, modules=(replace(FOUR.modules[0], **change), *FOUR.modules[1:]))
    for make in (allocate, lambda scores: uniform_plan(scores, 1)):
        with pytest.raises(AdaRankError) as caught:
            make(broken)
        assert message in str(caught.value)
        with pytest.raises(AdaRankError, match="list no modules"):
            make(replace(FOUR, modules=()))


def test_a_rest_that_buys_no_rank_is_no_conflict():
    plan = allocate(FOUR, parameters=1000)
    assert plan.budget["residual"] == 8
    again = allocate(FOUR, parameters=1000, pinned=plan.ranks)
    assert again.ranks == plan.ranks and again.budget["residual"] == 8


def test_families_share_the_whole_budget_where_parts_are_not_whole():
    scores = scores_of([(1.0, 64, 64)] * 7)  # four of one family, three of the other
    asked = constraints(scores, 1.5, group_by="family")
    assert asked.budgets == {"family 0": 6, "family 1": 4}  # 10.5, to even, is 10
    assert constraints(scores, 2.5, group_by="family").budgets == {"family 0": 10, "family 1": 8}


def test_the_unit_of_adaptive_ranks_is_the_tenth_percentile():
    scores = scores_of([(float(score), 64, 64) for score in range(30)])
    asked = constraints(scores, adaptive=True)
    assert asked.units([float(score) for score in range(30)]) == {"all": 3.0}  # of 29 the third
    assert asked.units([0.0] * 30) == {"all": 0.0}
    families = constraints(scores, adaptive=True, group_by="family")
    assert families.units([float(s) for s in range(30)]) == {"family 0": 4.0, "family 1": 3.0}


# Temperature, pins, exclusions, a share


def test_temperature_is_a_power_of_the_scores():
    modules = [(1.0, 64, 64), (4.0, 64, 64), (9.0, 64, 64)]
    rooted = [(1.0, 64, 64), (2.0, 64, 64), (3.0, 64, 64)]
    plan = allocate(scores_of(modules), 8, temperature=0.5)
    assert list(plan.ranks.values()) == [4, 8, 12]
    assert plan.ranks == allocate(scores_of(rooted), 8).ranks and plan.budget["temperature"] == 0.5
    squared = allocate(scores_of(rooted), 14, temperature=2.0)
    assert squared.ranks == allocate(scores_of([(s * s, *z) for s, *z in rooted]), 14).ranks
    assert list(squared.ranks.values()) == [3, 12, 27]


def test_temperature_of_zero_is_uniform_even_for_a_module_without_score(made_up):
    assert set(allocate(made_up(), 8, temperature=0).ranks.values()) == {8}
    modules = [(0.0, 64, 64), (4.0, 64, 64)]
    assert set(allocate(scores_of(modules), 8, temperature=0).ranks.values()) == {8}


@pytest.mark.parametrize("temperature", [1, 7.5, 1000])
def test_scores_near_the_ends_of_what_floats_hold_are_allocated(temperature):
    modules = [(1e308, 64, 64), (1e-308, 64, 64), (5e-324, 64, 64), (1e300, 64, 64)]
    for options in ({}, {"adaptive": True}, {"budget_by": "parameters"}):
        plan = allocate(scores_of(modules), temperature=temperature, **options)
        assert next(iter(plan.ranks.values())) == max(plan.ranks.values()) >= 1


def test_a_pin_is_kept_and_the_rest_is_allotted_anew(made_up):
    scores = made_up()
    free = allocate(scores, 8)
    first, second = list(free.ranks)[:2]
    pinned = {first: 40, second: 0}  # above and below the bounds: a pin is taken as it is
    plan = allocate(scores, 8, pinned=pinned, max_rank=30)
    assert plan.ranks[first] == 40 and plan.ranks[second] == 0 and plan.budget["pinned"] == pinned
    assert sum(plan.ranks.values()) == 8 * 36 and plan.budget["residual"] == 0
    # The others get what an allocation without the two gives them.
    others = replace(scores, modules=scores.modules[2:])
    expected = allocate(others, (8 * 36 - 40) / 34, max_rank=30)
    assert {name: plan.ranks[name] for name in expected.ranks} == expected.ranks


def test_pinning_what_a_plan_gives_moves_no_other_by_more_than_one(made_up):
    for options in ({}, {"budget_by": "parameters"}, {"group_by": "family"}, {"adaptive": True}):
        plan = allocate(made_up(), **options)
        for name, rank in list(plan.ranks.items())[::7]:
            again = allocate(made_up(), pinned={name: rank}, **options).ranks
            # What the pin was rounded by is what the others have more or less.
            assert again[name] == rank
            assert all(abs(again[other] - plan.ranks[other]) <= 1 for other in again)


def test_excluded_modules_leave_their_budget_to_the_others(made_up):
    scores = made_up()
    out = [module.name for module in scores.modules if module.family == "query"]
    plan = allocate(scores, 8, excluded=out)
    assert all(plan.ranks[name] == 0 for name in out) and plan.alpha[out[0]] == 0
    assert sum(plan.ranks.values()) == 8 * 36 and plan.budget["excluded"] == sorted(out)
    families = allocate(scores, 8, excluded=out, group_by="family")
    assert sum(families.ranks.values()) == 8 * 36  # by the other five families
    uniform = uniform_plan(scores, 8).budget["lora_parameters"]
    by_parameters = allocate(scores, 8, excluded=out, budget_by="parameters")
    assert by_parameters.budget["requested"] == uniform


@settings(max_examples=200)
@given(modules, st.floats(2, 6), st.sampled_from(["rank", "parameters"]), st.data())
def test_pins_exclusions_and_families_keep_the_budget(modules, average_rank, budget_by, data):
    scores = scores_of(modules)
    names = [module.name for module in scores.modules]
    out = data.draw(st.sets(st.sampled_from(names), max_size=2))
    pinned = data.draw(st.dictionaries(st.sampled_from(names), st.integers(0, 8), max_size=3))
    pinned = {name: rank for name, rank in pinned.items() if name not in out}
    options = {
        "budget_by": budget_by,
        "group_by": data.draw(st.sampled_from(["none", "family"])),
        "pinned": pinned,
        "excluded": sorted(out),
        "min_rank": 0,
    }
    try:
        plan = allocate(scores, average_rank, **options)
    except AdaRankError as error:
        assert "conflicts with" in str(error) or "excluded" in str(error)
        return
    assert all(plan.ranks[name] == rank for name, rank in pinned.items())
    assert all(plan.ranks[name] == 0 for name in out)
    sizes = {m.name: m for m in scores.modules}
    free = [
        sizes[name].in_features + sizes[name].out_features if budget_by == "parameters" else 1
        for name, rank in plan.ranks.items()
        if name not in pinned
        and name not in out
        and rank < min(sizes[name].in_features, sizes[name].out_features)
    ]
    assert plan.budget["residual"] >= 0
    assert not free or plan.budget["residual"] < min(free)
    mixed = list(scores.modules)
    data.draw(st.randoms()).shuffle(mixed)
    shuffled = replace(scores, modules=tuple(mixed))
    assert allocate(shuffled, average_rank, **options).ranks == plan.ranks


def test_a_share_is_one_of_the_scored_modules_weights(made_up):
    scores = made_up()
    weights = sum(m.in_features * m.out_features for m in scores.modules)
    plan = allocate(scores, share=0.031)
    assert plan.ranks == allocate(scores, parameters=round(0.031 * weights)).ranks
    assert plan.budget["requested"] == round(0.031 * weights) and plan.budget["share"] == 0.031
    assert plan.budget["by"] == "parameters" and plan.budget["residual"] < 768


# Adaptive


def test_adaptive_ranks_are_multiples_of_the_tenth_percentile():
    modules = [(score, 64, 64) for score in (0.0, 0.9, 2.0, 3.0, 3.1, 5.1, 8.9, 12, 20, 30, 99, 3)]
    plan = allocate(scores_of(modules), adaptive=True)
    # Of eleven positive scores the second smallest is the tenth percentile: 2.
    assert plan.budget["units"] == {"all": 2.0}
    assert list(plan.ranks.values()) == [1, 1, 1, 2, 2, 3, 4, 6, 10, 15, 50, 2]
    assert plan.budget["by"] == "adaptive" and plan.budget["residual"] == 0
    assert plan.budget["requested"] == plan.budget["spent"] == sum(plan.ranks.values())
    bounded = allocate(scores_of(modules), adaptive=True, min_rank=0, max_rank=9)
    assert list(bounded.ranks.values()) == [0, 0, 1, 2, 2, 3, 4, 6, 9, 9, 9, 2]


@given(modules, st.floats(1e-6, 1e6), st.integers(0, 1))
def test_adaptive_ranks_do_not_depend_on_the_unit_of_the_scores(modules, unit, lowest):
    scaled = [(score * unit, *size) for score, *size in modules]
    plan = allocate(scores_of(modules), adaptive=True, min_rank=lowest)
    assert allocate(scores_of(scaled), adaptive=True, min_rank=lowest).ranks == plan.ranks


def test_equal_scores_have_adaptive_rank_one():
    assert set(allocate(scores_of([(0.3, 64, 64)] * 9), adaptive=True).ranks.values()) == {1}
    assert set(allocate(scores_of([(0.0, 64, 64)] * 9), adaptive=True).ranks.values()) == {1}


def test_adaptive_pins_and_exclusions_move_no_other_rank(made_up):
    scores = made_up()
    plan = allocate(scores, adaptive=True)
    one, two = list(plan.ranks)[3:5]
    other = allocate(scores, adaptive=True, pinned={one: 33}, excluded=[two])
    assert other.ranks == {**plan.ranks, one: 33, two: 0}


def test_adaptive_ranks_converge_as_the_noise_falls(made_up):
    scores, draw = made_up(), random.Random(0)
    plan = allocate(scores, adaptive=True)
    distances = []
    for noise in (0.3, 0.1, 0.03, 0.01):
        apart = 0
        for _ in range(30):
            modules = tuple(
                replace(m, score=m.score * max(draw.gauss(1, noise), 0)) for m in scores.modules
            )
            noisy = allocate(replace(scores, modules=modules), adaptive=True)
            apart += sum(abs(noisy.ranks[name] - rank) for name, rank in plan.ranks.items())
        distances.append(apart)
    assert distances == sorted(distances, reverse=True) and distances[-1] < distances[0] / 5


def test_what_families_leave_over_is_pooled_until_it_buys_nothing():
    sizes = [(16, 16), (12, 8), (8, 8), (12, 8)]
    modules = tuple(
        ModuleScore(f"layer.{at}", at, f"family {at % 3}", *size, 1.0, 0.0)
        for at, size in enumerate(sizes)
    )
    scores = Scores("tiny", "paper", "paired", 1.0, 0, TEXTS, modules)
    options = {"group_by": "family", "min_rank": 0, "max_rank": 6, "excluded": ["layer.1"]}
    plan = allocate(scores, 3.8273, budget_by="parameters", **options)
    assert plan.ranks["layer.2"] == 6 and plan.budget["residual"] < 16
