"""What a plan costs, counted by PEFT, on disk, and in a real optimizer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model
from safetensors.torch import load_file

from adarank_core import AdaRankError, ModuleScore, Scores, allocate, load_model, uniform_plan
from adarank_core.ranks.costs import (
    lora_parameters,
    module_parameters,
    plan_costs,
    uniform_rank,
)
from adarank_core.ranks.portable import portable
from adarank_core.scoring.models import adaptable_modules
from tests.ranks import extremes

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def bundle(tiny_bert):
    return load_model(tiny_bert)


@pytest.fixture(scope="module")
def scores(bundle):
    modules = tuple(
        ModuleScore(**vars(module), score=at + 1.0, standard_error=0.0)
        for at, module in enumerate(adaptable_modules(bundle.model))
    )
    return Scores(bundle.name, "none", "none", 1.0, 0, {}, modules)


@pytest.fixture(scope="module")
def plan(scores):
    """Ranks that differ, some of them 0."""
    plan = allocate(scores, 4, min_rank=0, temperature=3, excluded=[scores.modules[-1].name])
    assert len(set(plan.ranks.values())) > 2 and 0 in plan.ranks.values()
    return plan


@pytest.fixture(scope="module")
def adapted(bundle, plan):
    config = plan.lora_config()
    config.task_type = None  # a classifier's head would be trained too
    return get_peft_model(bundle.model, config)


def test_parameters_are_those_that_peft_trains(adapted, scores, plan):
    costs = plan_costs(scores, plan)
    assert costs.lora_parameters == adapted.get_nb_trainable_parameters()[0]
    assert costs.lora_parameters == plan.budget["lora_parameters"]
    inner, counts = adapted.base_model.model, module_parameters(scores, plan.ranks)
    for name, count in counts.items():
        module = inner.get_submodule(name)
        found = sum(w.numel() for key, w in module.named_parameters() if "lora_" in key)
        assert count == found
    weights = [inner.get_submodule(name) for name in counts]
    weights = [getattr(module, "base_layer", module).weight for module in weights]
    assert costs.weights == sum(weight.numel() for weight in weights)
    assert costs.share == costs.lora_parameters / costs.weights


def test_bytes_are_those_of_the_saved_files(adapted, scores, plan, tmp_path):
    adapted.save_pretrained(tmp_path / "compact")
    portable(tmp_path / "compact", tmp_path / "portable")
    costs = plan_costs(scores, plan)
    for folder, expected in (("compact", costs.adapter_bytes), ("portable", costs.padded_bytes)):
        tensors = load_file(tmp_path / folder / WEIGHTS).values()
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
        assert expected == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        size = (tmp_path / folder / WEIGHTS).stat().st_size
        assert expected < size < expected + 200 * len(tensors)  # the rest is the file's header
    assert costs.padded_bytes > costs.adapter_bytes


def test_training_keeps_what_adamw_keeps(adapted, scores, plan):
    trained = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    adapted(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    optimizer.step()
    held = [weight.grad for weight in trained]
    for state in optimizer.state.values():
        held += [value for value in state.values() if value.dim() > 0]  # not the step's number
    assert plan_costs(scores, plan).optimizer_bytes == sum(
        tensor.numel() * tensor.element_size() for tensor in held
    )
    optimizer.zero_grad()


@pytest.mark.parametrize("budget_by", ["rank", "parameters"])
def test_uniform_ranks_of_the_same_budget_are_the_measure(made_up, budget_by):
    scores = made_up(spread=2)
    plan, uniform = allocate(scores, 6, budget_by=budget_by), uniform_plan(scores, 6)
    costs = plan_costs(scores, plan)
    assert costs.uniform_rank == 6
    assert costs.uniform_parameters == uniform.budget["lora_parameters"]
    expected = plan.budget["lora_parameters"] / uniform.budget["lora_parameters"] - 1
    assert costs.against_uniform == expected
    assert (expected == 0) == (budget_by == "parameters")
    assert plan_costs(scores, uniform).against_uniform == 0


def test_the_uniform_rank_of_other_budgets_may_be_a_fraction(made_up):
    scores = made_up()
    even = lora_parameters(scores, {module.name: 1 for module in scores.modules})
    assert uniform_rank(scores, allocate(scores, parameters=even * 7 // 2)) == 3.5
    adaptive = allocate(scores, adaptive=True)
    assert uniform_rank(scores, adaptive) == adaptive.budget["average_rank"]


@given(
    st.dictionaries(st.sampled_from(["layer.0", "layer.1", "x"]), extremes.values), extremes.scores
)
def test_parameters_of_any_ranks_are_counted_or_refused(ranks, scores):
    count = extremes.result_or_refusal(lora_parameters, scores, ranks)
    known = [ranks.get(module.name, 0) for module in scores.modules]
    allowed = all(type(rank) is int and 0 <= rank <= 10**6 for rank in known)
    assert (count is not None) == allowed


def test_a_rank_that_is_none_is_refused(made_up):
    with pytest.raises(AdaRankError, match=r"'.*' of the ranks is '8'; it must be a valid int"):
        lora_parameters(made_up(), {made_up().modules[0].name: "8"})
