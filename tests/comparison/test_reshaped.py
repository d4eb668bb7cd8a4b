"""Plans made of other plans: shuffled, or their step sizes alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core import allocate
from adarank_core.comparison.reshaped import permuted, scale_only
from adarank_core.ranks.allocation import lora_parameters


@given(st.integers(0, 99))
def test_permuting_keeps_the_ranks_of_every_size(made_up, seed):
    scores = made_up()
    plan = allocate(scores, 8, budget_by="parameters")
    other = permuted(plan, scores, seed)
    assert list(other.ranks) == list(plan.ranks) and other.ranks != plan.ranks
    for size in {(m.in_features, m.out_features) for m in scores.modules}:
        names = [m.name for m in scores.modules if (m.in_features, m.out_features) == size]
        assert sorted(other.ranks[n] for n in names) == sorted(plan.ranks[n] for n in names)
    assert lora_parameters(scores, other.ranks) == lora_parameters(scores, plan.ranks)
    assert other.alpha == {name: 2 * rank for name, rank in other.ranks.items()}
    assert permuted(plan, scores, seed) == other


@pytest.mark.parametrize("policy", ["proportional", "constant", "rslora"])
def test_scale_only_moves_every_module_as_far_as_the_plan(made_up, policy):
    scores = made_up()
    plan = allocate(scores, 8, alpha_policy=policy)
    uniform = allocate(scores, 8, temperature=0, alpha_policy=policy)
    found = scale_only(plan, uniform)
    assert found.ranks == uniform.ranks and found.scores_sha256 == plan.scores_sha256
    for name, rank in plan.ranks.items():
        moved = found.scaling[name] * uniform.ranks[name]
        assert moved == pytest.approx(plan.scaling[name] * rank)
    assert (found.alpha == plan.alpha) == (policy != "rslora")
