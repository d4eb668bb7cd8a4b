"""Plans: their JSON, their alphas, and what is read back from files."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adarank_core import AdaRankError, RankPlan, allocate, uniform_plan
from adarank_core.ranks.plans import ALPHA_POLICIES, alphas
from tests.ranks import extremes


def test_a_plan_survives_json(made_up):
    plan = allocate(made_up())
    assert RankPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    "change",
    [
        {"format": "adarank-scores/1"},
        {"ranks": []},
        {"ranks": {}},
        {"ranks": {"a": 0}},
        {"ranks": {"a": -1}},
        {"ranks": {"a": 1.5}},
        {"ranks": {"a": True}},
        {"ranks": {"a": "8"}},
        {"ranks": {"a": None}},
        {"ranks": {"a": 4, "b": 4}},
        {"alpha": {}},
        {"alpha": {"a": math.nan}},
        {"alpha": {"a": math.inf}},
        {"alpha": {"a": -1}},
        {"alpha": {"a": 10**400}},
        {"alpha": {"a": 8, "b": math.nan}},
        {"budget": {"by": math.nan}},
        {"alpha": {"a": True}},
        {"alpha": {"a": "8"}},
        {"alpha": None},
        {"budget": 3},
        {"model": 3},
        {"scores_sha256": 3},
    ],
    ids=str,
)
def test_corrupt_plans_are_refused(change):
    good = RankPlan("tiny", {"a": 4}, {"a": 8}, {}, "").to_dict()
    assert RankPlan.from_dict(good).ranks == {"a": 4}
    for make in (RankPlan.from_dict, lambda data: RankPlan(**data)):
        data = {**good, **change}
        if make is not RankPlan.from_dict and data.pop("format") != good["format"]:
            continue
        with pytest.raises(AdaRankError) as caught:
            make(data)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["format", "model", "ranks", "alpha", "budget", "scores_sha256"])
def test_every_key_of_a_plan_is_needed(key):
    data = RankPlan("tiny", {"a": 4}, {"a": 8}, {}, "").to_dict()
    del data[key]
    with pytest.raises(AdaRankError):
        RankPlan.from_dict(data)


@pytest.mark.parametrize("data", [None, [], 3, "x"])
def test_what_is_no_plan_is_refused(data):
    with pytest.raises(AdaRankError, match="not a ranks file"):
        RankPlan.from_dict(data)


def test_an_alpha_policy_that_nobody_knows_is_refused():
    data = RankPlan("tiny", {"a": 4}, {"a": 8}, {"alpha_policy": "rslora"}).to_dict()
    assert RankPlan.from_dict(data).alpha_policy == "rslora"
    for policy in ("x", 3, None, []):
        data["budget"]["alpha_policy"] = policy
        with pytest.raises(AdaRankError, match="'alpha_policy' of 'budget' of the ranks is"):
            RankPlan.from_dict(data)


# Alpha


def test_alphas_scale_by_two_at_the_average_rank_in_every_policy():
    ranks = {"a": 4, "b": 16, "c": 28, "d": 0}
    scaling = {
        policy: RankPlan("tiny", ranks, alphas(ranks, policy), {"alpha_policy": policy}).scaling
        for policy in ALPHA_POLICIES
    }
    assert all(found["b"] == 2 and "d" not in found for found in scaling.values())
    assert scaling["proportional"] == {"a": 2, "b": 2, "c": 2}
    assert scaling["constant"] == pytest.approx({"a": 8, "b": 2, "c": 32 / 28})
    assert scaling["rslora"] == pytest.approx({"a": 4, "b": 2, "c": 8 / 28**0.5})
    assert alphas(ranks)["d"] == alphas(ranks, "constant")["d"] == 0
    with pytest.raises(AdaRankError, match="alpha_policy is 'x'; it must be one of proportional"):
        alphas(ranks, "x")


# Reading back


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), extremes.values, min_size=1))
def test_alphas_of_any_ranks_are_given_or_refused(ranks):
    for policy in ALPHA_POLICIES:
        found = extremes.result_or_refusal(alphas, ranks, policy)
        if found is not None and any(ranks.values()):
            plan = RankPlan("tiny", ranks, found, {"alpha_policy": policy})
            assert RankPlan.from_dict(plan.to_dict()) == plan


def test_a_plan_tells_what_it_was_scored_on_and_older_files_do_not(made_up):
    scores = replace(made_up(seed=3), trials=6)
    plan = allocate(scores, 8)
    data = json.loads(json.dumps(plan.to_dict()))
    assert (data["seed"], data["trials"], data["mode"]) == (3, 6, "paper")
    assert data["texts"] == scores.texts and RankPlan.from_dict(data) == plan
    for key in ("seed", "trials", "mode", "texts"):
        del data[key]
    old = RankPlan.from_dict(data)
    assert (old.seed, old.trials, old.mode, old.texts) == (None, None, "", {})
    assert old.to_dict() == data and old.ranks == plan.ranks
    equal = uniform_plan(scores, 8).to_dict()  # which rests on no scores
    assert not {"seed", "trials", "mode", "texts"} & set(equal)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": "0"},
        {"seed": True},
        {"seed": 2**64},
        {"trials": 0},
        {"texts": []},
        {"texts": {"count": -1}},
        {"texts": {"source": 3}},
        {"mode": None},
    ],
    ids=str,
)
def test_a_wrong_origin_is_refused(wrong, made_up):
    with pytest.raises(AdaRankError, match=next(iter(wrong))):
        RankPlan.from_dict({**allocate(made_up(), 8).to_dict(), **wrong})
