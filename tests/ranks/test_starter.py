"""Starter adapters on real PEFT: the planned ranks, an unchanged model, and training goes on."""

import copy
import json

import numpy as np
import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from scipy.stats import ks_2samp

from adarank_core import AdaRankError, RankPlan, allocate
from adarank_core.ranks.export import export
from adarank_core.ranks.plans import ALPHA_POLICIES, alphas
from adarank_core.ranks.starter import starter_weights
from adarank_core.ranks.verification import layers_of_model, verify
from adarank_core.scoring.models import adaptable_modules
from tests.scoring.test_partial_forward import ARCHITECTURES, batch_of, louder


def sizes_of(model):
    return {m.name: (m.in_features, m.out_features) for m in adaptable_modules(model)}


def starter(model, policy, folder, task_type):
    """Write the starter of a plan with very unlike ranks, some of them 0."""
    sizes = sizes_of(model)
    ranks = {name: (3 * at) % 7 for at, name in enumerate(sizes)}
    budget = {"alpha_policy": policy}
    plan = RankPlan("/srv/tiny", ranks, alphas(ranks, policy), budget, task_type=task_type)
    export(plan, folder, starter=sizes)
    return plan


@pytest.mark.parametrize("policy", ALPHA_POLICIES)
@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt2-classifier", "llama"])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False", "ignore:.*checkpointing")
def test_peft_goes_on_from_a_starter(name, policy, tmp_path):
    model = louder(*ARCHITECTURES[name][:2]).eval()
    classifies = "Classif" in type(model).__name__
    plan = starter(model, policy, tmp_path, "SEQ_CLS" if classifies else "CAUSAL_LM")
    batch = batch_of([7, 5, 3])
    with torch.inference_mode():
        expected = model(**batch).logits
    adapted = PeftModel.from_pretrained(model, tmp_path, is_trainable=True).eval()
    with torch.inference_mode():
        assert torch.equal(adapted(**batch).logits, expected)
    found = layers_of_model(adapted)
    assert {key: layer.rank for key, layer in found.items()} == {
        key: rank for key, rank in plan.ranks.items() if rank
    }
    assert {key: layer.scaling for key, layer in found.items()} == pytest.approx(plan.scaling)
    assert verify(tmp_path, plan).is_the_plan
    trained = {key: weight for key, weight in adapted.named_parameters() if weight.requires_grad}
    assert trained and all(".lora_" in key for key in trained)
    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    adapted(**batch).logits.square().sum().backward()
    optimizer.step()
    moved = [key for key, weight in trained.items() if ".lora_B" in key and weight.any()]
    assert len(moved) >= 0.9 * len(found)  # what a padded token alone reads may stay
    adapted.save_pretrained(tmp_path / "trained")
    assert verify(tmp_path / "trained", plan).is_the_plan


def test_a_is_drawn_by_the_law_of_peft_and_from_the_seed(made_up, embedded):
    plan = allocate(made_up(seed=5), 8)
    assert plan.seed == 5
    sizes = sizes_of(embedded.model)
    weights = starter_weights(plan, sizes)
    again, other = (starter_weights(allocate(made_up(seed), 8), sizes) for seed in (5, 6))
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    key = next(iter(weights))
    assert weights[key].flatten()[0] != other[key].flatten()[0]
    peft = get_peft_model(copy.deepcopy(embedded.model), plan.lora_config()).state_dict()
    scaled = {"ours": [], "peft": []}
    for key, tensor in weights.items():
        theirs = peft[key.replace(".weight", ".default.weight")]
        assert tensor.shape == theirs.shape and tensor.dtype == theirs.dtype
        if "lora_B" in key:
            assert not tensor.any() and not theirs.any()
            continue
        root = tensor.shape[1] ** 0.5  # uniform from -1 to 1 after that
        scaled["ours"].append(tensor.flatten() * root)
        scaled["peft"].append(theirs.flatten() * root)
    ours, theirs = (np.concatenate(values) for values in scaled.values())
    assert abs(ours).max() == pytest.approx(1, abs=1e-3) == abs(theirs).max()
    assert ks_2samp(ours, theirs).pvalue > 0.01


def test_a_starter_without_a_seed_or_of_other_sizes(tmp_path):
    plan = RankPlan("tiny", {"0.query": 4}, {"0.query": 8})
    first = starter_weights(plan, {"0.query": (6, 5)})
    with_seed = RankPlan("tiny", {"0.query": 4}, {"0.query": 8}, seed=0)
    second = starter_weights(with_seed, {"0.query": (6, 5)})
    assert all(torch.equal(first[key], second[key]) for key in first)
    for sizes, said in (({}, "size of '0.query'"), ({"0.query": (3, 9)}, "is 4; it may be 3")):
        with pytest.raises(AdaRankError, match=said):
            export(plan, tmp_path / "new", starter=sizes)
    assert not (tmp_path / "new").exists()


def test_a_starter_is_not_written_over(tmp_path):
    plan = RankPlan("tiny", {"0.query": 4}, {"0.query": 8}, seed=3)
    files = export(plan, tmp_path, starter={"0.query": (6, 5)})
    assert files[-1].name == "adapter_model.safetensors"
    assert set(load_file(files[-1])) == {
        f"base_model.model.0.query.lora_{half}.weight" for half in "AB"
    }
    assert json.loads(files[1].read_text())["task_type"] is None  # PEFT would want a head too
    with pytest.raises(AdaRankError, match="holds an adapter's weights"):
        export(plan, tmp_path)
