"""Ranks from scores: budgets, bounds, rounding, and the published figures."""

import itertools
import math
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adarank_core import AdaRankError, ModuleScore, RankPlan, Scores, allocate, uniform_plan
from adarank_core.ranks.allocation import lora_parameters
from tests.ranks import extremes

TEXTS = {"source": "list", "count": 1, "sha256": "00"}
SIZES = [(8, 8), (8, 32), (32, 8), (16, 16), (12, 8)]


def scores_of(modules):
    """Make scores of (score, in_features, out_features)."""
    listed = tuple(
        ModuleScore(f"layer.{at:03}", at, f"family {at % 2}", inputs, outputs, score, 0.0)
        for at, (score, inputs, outputs) in enumerate(modules)
    )
    return Scores("tiny", "paper", "paired", 1.0, 0, TEXTS, listed)


def refusal(scores, *arguments, **options):
    with pytest.raises(AdaRankError) as caught:
        allocate(scores, *arguments, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


some_scores = st.one_of(
    st.floats(1e-6, 1e6), st.just(0.0), st.floats(0.5, 2), st.integers(1, 3).map(float)
)
modules = st.lists(
    st.tuples(some_scores, st.sampled_from(SIZES)).map(lambda m: (m[0], *m[1])),
    min_size=1,
    max_size=12,
)


# Budgets


@given(modules, st.floats(1, 8))
def test_a_budget_of_ranks_is_spent_to_the_last_one(modules, average_rank):
    scores = scores_of(modules)
    plan = allocate(scores, average_rank)
    assert sum(plan.ranks.values()) == round(average_rank * len(modules))
    assert plan.budget["residual"] == 0
    assert all(
        1 <= rank <= min(m[1:]) for rank, m in zip(plan.ranks.values(), modules, strict=True)
    )


@settings(max_examples=300)
@given(modules, st.floats(1, 8), st.integers(0, 1))
def test_a_budget_of_parameters_is_kept_within_the_smallest_step(modules, average_rank, lowest):
    scores = scores_of(modules)
    plan = allocate(scores, average_rank, budget_by="parameters", min_rank=lowest)
    spent = lora_parameters(scores, plan.ranks)
    asked = round(average_rank * sum(sum(m[1:]) for m in modules))
    assert plan.budget["spent"] == spent <= asked == plan.budget["requested"]
    # What is left buys no rank of any module that could take one.
    free = [
        sum(m[1:])
        for rank, m in zip(plan.ranks.values(), modules, strict=True)
        if rank < min(m[1:])
    ]
    assert asked - spent < min(free, default=1)
    assert all(
        lowest <= rank <= min(m[1:]) for rank, m in zip(plan.ranks.values(), modules, strict=True)
    )


@pytest.mark.parametrize("average_rank", [*range(1, 65), 127, 200])
def test_minilm_s_shapes_get_exactly_the_parameters_of_uniform_ranks(made_up, average_rank):
    scores = made_up(average_rank)
    uniform = uniform_plan(scores, average_rank).budget["lora_parameters"]
    plan = allocate(scores, average_rank, budget_by="parameters")
    assert plan.budget["lora_parameters"] == uniform and plan.budget["residual"] == 0
    if average_rank > 1:
        assert len(set(plan.ranks.values())) > 3


def test_a_number_of_parameters_is_a_budget(made_up):
    plan = allocate(made_up(), parameters=331_776)
    assert plan.ranks == allocate(made_up(), 8, budget_by="parameters").ranks
    assert plan.budget["by"] == "parameters" and plan.budget["average_rank"] > 1


def test_eight_is_the_average_rank_where_none_is_given(made_up):
    assert allocate(made_up()) == allocate(made_up(), average_rank=8)


def test_families_get_their_own_share(made_up):
    scores = made_up()
    plan = allocate(scores, 8, group_by="family")
    for family in scores.families:
        ranks = [plan.ranks[m.name] for m in scores.modules if m.family == family]
        assert sum(ranks) == 8 * 6 and len(set(ranks)) > 1
    assert plan != allocate(scores, 8)


def test_largest_rank_is_a_bound(made_up):
    plan = allocate(made_up(spread=2), 8, max_rank=12)
    assert max(plan.ranks.values()) == 12 and sum(plan.ranks.values()) == 8 * 36


def test_smallest_rank_of_zero_lets_modules_go_without(made_up):
    plan = allocate(made_up(spread=3), 8, min_rank=0)
    assert min(plan.ranks.values()) == 0 and sum(plan.ranks.values()) == 8 * 36
    lowest = min(made_up(spread=3).modules, key=lambda module: module.score)
    assert plan.ranks[lowest.name] == 0


def test_alpha_is_twice_the_rank(made_up):
    plan = allocate(made_up())
    assert plan.alpha == {name: 2 * rank for name, rank in plan.ranks.items()}


def test_the_plan_names_the_scores_that_it_comes_from(made_up):
    assert allocate(made_up()).scores_sha256 == made_up().sha256
    assert uniform_plan(made_up(), 8).scores_sha256 == ""


# Proportion


@settings(max_examples=500)
@given(modules, st.floats(1, 8), st.sampled_from(["rank", "parameters"]))
def test_of_two_modules_of_one_size_the_higher_score_has_no_lower_rank(
    modules, average_rank, budget_by
):
    plan = allocate(scores_of(modules), average_rank, budget_by=budget_by)
    named = list(zip(modules, plan.ranks.values(), strict=True))
    for (one, rank), (other, other_rank) in itertools.permutations(named, 2):
        if one[1:] == other[1:] and one[0] > other[0]:
            assert rank >= other_rank


@given(modules, st.floats(1, 8), st.sampled_from(["rank", "parameters"]), st.randoms())
def test_the_order_of_the_modules_does_not_matter(modules, average_rank, budget_by, shuffled):
    scores = scores_of(modules)
    mixed = list(scores.modules)
    shuffled.shuffle(mixed)
    others = replace(scores, modules=tuple(mixed))
    plan = allocate(scores, average_rank, budget_by=budget_by)
    assert allocate(others, average_rank, budget_by=budget_by).ranks == plan.ranks
    assert list(allocate(others, average_rank).ranks) == [module.name for module in mixed]


@given(modules, st.floats(1, 8), st.sampled_from(["rank", "parameters"]), st.integers(-30, 30))
def test_the_unit_of_the_scores_does_not_matter(modules, average_rank, budget_by, power):
    scaled = [(score * 2.0**power, *size) for score, *size in modules]
    plan = allocate(scores_of(modules), average_rank, budget_by=budget_by)
    assert allocate(scores_of(scaled), average_rank, budget_by=budget_by).ranks == plan.ranks


def test_ties_are_settled_by_score_and_name_in_any_unit():
    for unit in (1.0, 0.1, 1 / 3, 7e-5, 123.456):
        modules = [(score * unit, 64, 64) for score in (1, 3, 1, 3, 5, 5)]
        assert list(allocate(scores_of(modules), 4.5).ranks.values()) == [1, 5, 1, 4, 8, 8]


def test_equal_scores_give_equal_ranks(made_up):
    even = [(0.7, 64, 64)] * 7
    assert set(allocate(scores_of(even), 5).ranks.values()) == {5}
    nothing = [(0.0, 64, 64)] * 7
    assert set(allocate(scores_of(nothing), 5).ranks.values()) == {5}


def test_ranks_are_proportional_where_no_bound_is_in_the_way():
    plan = allocate(scores_of([(1.0, 64, 64), (2.0, 64, 64), (5.0, 64, 64)]), 8)
    assert list(plan.ranks.values()) == [3, 6, 15]


def test_what_a_full_module_cannot_take_goes_to_the_others_in_proportion():
    modules = [(100.0, 8, 8), (1.0, 64, 64), (3.0, 64, 64), (0.0, 64, 64)]
    assert list(allocate(scores_of(modules), 5, min_rank=0).ranks.values()) == [8, 3, 9, 0]
    assert list(allocate(scores_of(modules), 42, min_rank=0).ranks.values()) == [8, 64, 64, 32]
    assert list(allocate(scores_of(modules), 50, min_rank=0).ranks.values()) == [8, 64, 64, 64]


@settings(max_examples=300)
@given(modules, st.floats(1, 8), st.floats(0, 3))
def test_a_larger_score_has_no_smaller_rank_whatever_the_sizes(modules, average_rank, temperature):
    scores = scores_of(modules)
    for budget_by, steps in (("rank", 0), ("parameters", 2)):
        # Of two sizes one may be rounded down, the other up, and take a further step of the rest.
        plan = allocate(scores, average_rank, temperature=temperature, budget_by=budget_by)
        named = list(zip(modules, plan.ranks.values(), strict=True))
        for (one, rank), (other, other_rank) in itertools.permutations(named, 2):
            if one[0] > other[0] and rank < min(one[1:]):
                assert rank >= other_rank - steps


# The published figures (AdaRank.ipynb in google-research: value modules of bert-base-cased)

PUBLISHED = [
    0.1067335,
    0.2673352,
    0.5113052,
    0.64961135,
    0.66023976,
    0.6209688,
    0.59066254,
    0.61314476,
    0.6017301,
    0.72589016,
    0.72327375,
    0.570347,
]


def test_the_published_ranks_come_out_of_the_published_scores():
    scores = scores_of([(score, 768, 768) for score in PUBLISHED])
    plan = allocate(scores, average_rank=8, rounding="floor")
    assert list(plan.ranks.values()) == [1, 3, 7, 9, 9, 8, 8, 8, 8, 10, 10, 8]
    assert plan.budget["spent"] == 89 and plan.budget["residual"] == 7
    whole = allocate(scores, average_rank=8)
    assert sum(whole.ranks.values()) == 96
    added = [whole.ranks[name] - rank for name, rank in plan.ranks.items()]
    assert sorted(added) == [0] * 5 + [1] * 7


def test_the_published_value_ranks_of_all_modules_together_come_out_too():
    # There all families shared 384 ranks. The value modules' ranks are those of a budget of 152 or
    # 153 for them; which one it was, the other families' unpublished scores would say.
    scores = scores_of([(score, 768, 768) for score in PUBLISHED])
    expected = [2, 6, 11, 14, 15, 14, 13, 14, 13, 16, 16, 13]
    for budget in (152, 153):
        plan = allocate(scores, budget / 12, rounding="floor")
        assert list(plan.ranks.values()) == expected
        assert plan.budget["requested"] == budget and plan.budget["spent"] == 147
    assert list(allocate(scores, 13, rounding="floor").ranks.values()) != expected


def test_floor_keeps_to_the_bounds_too():
    modules = [(100.0, 8, 8), (1.0, 64, 64), (0.0, 64, 64)]
    plan = allocate(scores_of(modules), 20, rounding="floor")
    assert list(plan.ranks.values()) == [8, 51, 1]  # rounding down comes after the bounds
    assert plan.budget["residual"] == 0


@given(modules, st.floats(1, 8), st.sampled_from(["rank", "parameters"]), st.integers(0, 1))
def test_floor_never_overspends(modules, average_rank, budget_by, lowest):
    plan = allocate(
        scores_of(modules), average_rank, budget_by=budget_by, min_rank=lowest, rounding="floor"
    )
    assert plan.budget["residual"] >= 0 and min(plan.ranks.values()) >= lowest


# What cannot be done


@pytest.mark.parametrize("average_rank", [0, -1, math.nan, math.inf, -math.inf])
def test_an_average_rank_must_be_above_zero(made_up, average_rank):
    assert "average_rank is" in refusal(made_up(), average_rank)


@pytest.mark.parametrize("average_rank", [384.5, 385, 1e6, 1e30, 1e308])
def test_an_average_rank_above_the_modules_sizes_is_refused(made_up, average_rank):
    assert "average" in refusal(made_up(), average_rank)


def test_every_bound_is_checked(made_up):
    scores = made_up()
    assert "below 36" in refusal(scores, 0.5)
    assert "below 1" in refusal(scores, 0.001, min_rank=0)
    assert "below 144" in refusal(scores, 3, min_rank=4)
    assert "above" in refusal(scores, 5, max_rank=4)
    assert "family" in refusal(scores, 5, max_rank=4, group_by="family")
    assert "min_rank is 385" in refusal(scores, 384, min_rank=385)
    assert "min_rank is -1" in refusal(scores, 8, min_rank=-1)
    assert "max_rank is 0" in refusal(scores, 8, max_rank=0)
    assert "max_rank is 2" in refusal(scores, 8, max_rank=2, min_rank=3)
    assert "parameters is 0" in refusal(scores, parameters=0)
    assert "parameters is -5" in refusal(scores, parameters=-5)
    assert "above" in refusal(scores, parameters=10**15)
    assert "below" in refusal(scores, parameters=1000)
    assert "both given" in refusal(scores, 8, parameters=331_776)
    assert "budget_by 'rank'" in refusal(scores, parameters=331_776, budget_by="rank")
    for option in ("budget_by", "group_by", "rounding"):
        assert f"{option} is 'x'" in refusal(scores, 8, **{option: "x"})


@pytest.mark.parametrize("rank", [0, -1, 385, 2.5, True, "8", None])
def test_a_uniform_rank_is_a_whole_number_that_fits(made_up, rank):
    with pytest.raises(AdaRankError, match="uniform rank is"):
        uniform_plan(made_up(), rank)


@pytest.mark.parametrize("options", [{}, {"budget_by": "parameters"}, {"group_by": "family"}])
@pytest.mark.parametrize("kinds", [4, 40])
def test_ten_thousand_modules_are_allocated_quickly(options, kinds):
    draw = random.Random(0)
    sizes = [(4096, 4096), (4096, 1024), (4096, 11008), (11008, 4096)]
    if kinds != 4:
        sizes = [(draw.randint(64, 9000), draw.randint(64, 9000)) for _ in range(kinds)]
    modules = [(draw.lognormvariate(0, 1), *sizes[at % kinds]) for at in range(10_000)]
    scores = scores_of(modules)
    started = time.process_time()
    plan = allocate(scores, 16, **options)
    assert time.process_time() - started < 4  # 0.4 s where it was written
    assert plan.budget["residual"] < min(inputs + outputs for _, inputs, outputs in modules)


# Numbers at the ends of what there is

small = st.integers(1, 64) | st.floats(1, 9)
WISHES = {
    "average_rank": small | extremes.values,
    "parameters": st.integers(1, 10**18) | extremes.values,
    "share": st.floats(0.01, 1) | extremes.values,
    "adaptive": st.booleans(),
    "budget_by": st.sampled_from(["rank", "parameters"]),
    "group_by": st.just("family"),
    "min_rank": st.just(0) | extremes.values,
    "max_rank": small | extremes.values,
    "pinned": st.dictionaries(st.sampled_from(["layer.0", "layer.1"]), small | extremes.values),
    "excluded": st.sampled_from([(), ["layer.1"], {"layer.0", "layer.2"}, "layer.0", None, 3]),
    "temperature": st.floats(0, 3) | extremes.values,
    "rounding": st.just("floor"),
    "alpha_policy": st.sampled_from(["proportional", "constant", "rslora"]),
}
wishes = st.sets(st.sampled_from(sorted(WISHES)), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: WISHES[name] for name in sorted(names)})
)


def check_plan(scores, plan):
    """What is promised of every plan, however large the numbers are."""
    assert RankPlan.from_dict(plan.to_dict()) == plan
    pinned = plan.budget.get("pinned", {})
    lowest, highest = plan.budget.get("min_rank", 1), plan.budget.get("max_rank")
    by_parameters = plan.budget["by"] == "parameters"
    open_costs = []
    for module in scores.modules:
        rank = plan.ranks[module.name]
        cap = min(module.in_features, module.out_features, 10**6)
        cap = cap if highest is None else min(cap, highest)
        if module.name in pinned:
            assert rank == pinned[module.name]
        elif module.name in plan.budget.get("excluded", []):
            assert rank == 0
        else:
            assert lowest <= rank <= cap
            if rank < cap:
                open_costs.append(module.in_features + module.out_features if by_parameters else 1)
    used = lora_parameters(scores, plan.ranks)
    spent = used if by_parameters else sum(plan.ranks.values())
    assert plan.budget["spent"] == spent == plan.budget["requested"] - plan.budget["residual"]
    assert plan.budget["residual"] >= 0
    if plan.budget["rounding"] != "floor" and plan.budget["by"] != "adaptive" and open_costs:
        assert plan.budget["residual"] < min(open_costs)


@settings(max_examples=600)
@given(extremes.scores | extremes.broken_scores, wishes)
def test_any_wish_is_met_or_refused(scores, wishes):
    plan = extremes.result_or_refusal(allocate, scores, **wishes)
    if plan is not None:
        check_plan(scores, plan)


@settings(max_examples=600)
@given(
    extremes.scores,
    st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
    st.integers(-9, 9),
    st.integers(0, 1),
    st.sampled_from(["none", "family"]),
    st.sampled_from([0, 0.5, 1, 3, 1e308]),
    st.sampled_from(["largest-remainder", "floor"]),
)
def test_any_budget_that_can_be_met_is(scores, full, more, lowest, group_by, temperature, rounding):
    caps = {m.name: min(m.in_features, m.out_features, 10**6) for m in scores.modules}
    most = min(lora_parameters(scores, caps), 10**18)  # where floats are 128 apart
    least = lora_parameters(scores, dict.fromkeys(caps, lowest))
    budget = max(1, least + int(full * (most - least)) + more)
    options = {"min_rank": lowest, "group_by": group_by, "temperature": temperature}
    plan = extremes.result_or_refusal(
        allocate, scores, parameters=budget, rounding=rounding, **options
    )
    if plan is not None:
        check_plan(scores, plan)
        return
    step = min(module.in_features + module.out_features for module in scores.modules)
    nothing = lowest == 0 and (rounding == "floor" or budget < step)
    assert nothing or group_by == "family" or not least <= budget <= most


def test_the_largest_budgets_are_split_to_the_last_parameter():
    modules = [(1.0, 0.0, 10**12, 10**6), (1.0, 0.0, 10**12, 10**6), (2.0, 0.0, 64, 64)]
    scores = extremes.scores_of(modules)
    for parameters in (10**17 - 1, 10**17, 10**18 - 1):
        plan = allocate(scores, parameters=parameters, group_by="none")
        assert plan.budget["requested"] == parameters and plan.ranks["layer.2"] == 64
        assert 0 <= plan.budget["residual"] < 10**12
    assert "conflicts with the modules' sizes" in refusal(
        extremes.scores_of(modules[2:]), parameters=10**17 - 1
    )


@given(extremes.scores | extremes.broken_scores, extremes.values)
def test_any_uniform_rank_is_given_or_refused(scores, rank):
    plan = extremes.result_or_refusal(uniform_plan, scores, rank)
    if plan is not None:
        sizes = {m.name: min(m.in_features, m.out_features) for m in scores.modules}
        assert plan.ranks == {name: min(rank, size) for name, size in sizes.items()}
        assert RankPlan.from_dict(plan.to_dict()) == plan


def test_an_unknown_option_is_named(made_up):
    with pytest.raises(TypeError, match="'max_ranks'"):
        allocate(made_up(), 8, max_ranks=3, min_rank=0)


def test_a_uniform_rank_is_cut_at_a_small_module_s_size():
    gate = ModuleScore("0.gate", 0, "gate", 32, 1, 1.0, 0.0)
    query = ModuleScore("0.query", 0, "query", 32, 32, 1.0, 0.0)
    plan = uniform_plan(Scores("tiny", "none", "none", 1.0, 0, {}, (gate, query)), 4)
    assert plan.ranks == {"0.gate": 1, "0.query": 4} and plan.scaling == {"0.gate": 2, "0.query": 2}
    assert plan.budget["residual"] == 3 and plan.budget["lora_parameters"] == 33 + 4 * 64
    with pytest.raises(AdaRankError, match=r"is 33, above the size of .0\.query.; it may be 32"):
        uniform_plan(Scores("tiny", "none", "none", 1.0, 0, {}, (gate, query)), 33)
