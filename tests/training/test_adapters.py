"""The ways to adapt a model, held against PEFT's own."""

import pytest
import torch
from peft import EvaConfig, get_peft_model
from peft.tuners.adalora.model import AdaLoraModel
from peft.tuners.lora.eva import initialize_lora_eva_weights

from adarank_core import AdaRankError, RankPlan, finetune, load_model
from adarank_core.comparison.planner import same_rank
from adarank_core.data.texts import as_texts
from adarank_core.scoring.encoding import encode
from adarank_core.scoring.heads import head_names
from adarank_core.training.adapters import adapted, check_plan, final_ranks, lora_size
from adarank_core.training.finetuning import Settings


def loaded(tiny_bert):
    return load_model(tiny_bert, labels=3, head="classification")


def trainable(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_the_head_alone_or_everything_is_trained(tiny_bert):
    bundle = loaded(tiny_bert)
    alone = adapted(bundle, None, method="head-only", seed=4)
    heads = tuple(f"{name}." for name in head_names(alone))
    outside = {name for name, _ in alone.named_parameters() if name.startswith(heads)}
    assert trainable(alone) == outside != set()
    everything = adapted(loaded(tiny_bert), None, method="full", seed=4)
    assert trainable(everything) == {name for name, _ in everything.named_parameters()}
    lora = adapted(loaded(tiny_bert), same_rank(tiny_bert, 2), seed=4)
    weights = [model.get_submodule(head_names(alone)[0]).weight for model in (alone, everything)]
    assert torch.equal(*weights)
    assert any(torch.equal(weights[0], weight) for weight in lora.parameters())
    assert lora_size(alone) == lora_size(everything) == 0 and final_ranks(alone, None) == {}


def test_eva_starts_where_peft_s_own_initialisation_does(tiny_bert, texts):
    """With one rank everywhere and rho 1; up to sign, PEFT fills A with the same rows."""
    plan = same_rank(tiny_bert, 3)
    ours = adapted(loaded(tiny_bert), plan, method="eva", texts=texts[:16])
    bundle = loaded(tiny_bert)
    config = plan.lora_config()
    config.init_lora_weights, config.eva_config = "eva", EvaConfig(rho=1.0)
    theirs = get_peft_model(bundle.model, config)
    batches = encode(bundle, as_texts(texts[:16]))
    initialize_lora_eva_weights(theirs, batches, show_progress_bar=False)
    rows = dict(theirs.named_parameters())
    compared = 0
    for name, row in ours.named_parameters():
        if ".lora_A." in name:
            match = torch.nn.functional.cosine_similarity(row, rows[name], dim=1).abs()
            assert torch.allclose(match, torch.ones(3), atol=0.02), name
            compared += 1
        elif ".lora_B." in name:
            assert not row.any()
    assert compared == len(plan.ranks)


def test_eva_follows_the_plan_s_ranks_and_its_function_is_the_pretrained_one(tiny_bert, texts):
    names = list(same_rank(tiny_bert, 1).ranks)
    ranks = {name: at % 4 for at, name in enumerate(names)}
    plan = RankPlan(tiny_bert, ranks, {name: 2 * rank for name, rank in ranks.items()})
    model = adapted(loaded(tiny_bert), plan, method="eva", texts=texts[:16]).eval()
    plain = adapted(loaded(tiny_bert), plan).eval()
    found = {n: len(w) for n, w in model.named_parameters() if ".lora_A." in n}
    assert sorted(found.values()) == sorted(rank for rank in ranks.values() if rank)
    batch = {"input_ids": torch.tensor([[2, 5, 6, 3]])}
    with torch.inference_mode():
        assert torch.equal(model(**batch).logits, plain(**batch).logits)


@pytest.fixture(scope="module")
def adaptive(tiny_bert, tiny_task, tmp_path_factory):
    """An AdaLoRA run: its result, what was called at which step, and its folder."""
    folder, calls = tmp_path_factory.mktemp("adalora"), []
    real = AdaLoraModel.update_and_allocate
    with pytest.MonkeyPatch.context() as patch:

        def update(model, step):
            grown = [w.grad for n, w in model.model.named_parameters() if "lora_E" in n]
            calls.append((step, all(grad is not None for grad in grown)))
            return real(model, step)

        patch.setattr(AdaLoraModel, "update_and_allocate", update)
        result = finetune(
            tiny_bert,
            tiny_task,
            same_rank(tiny_bert, 4),
            Settings(steps=20, batch_size=8, evaluations=2),
            method="adalora",
            output=folder,
        )
    return result, calls, folder


def test_adalora_moves_its_ranks_after_every_step_and_ends_at_the_average(adaptive):
    result, calls, _ = adaptive
    assert calls == [(step, True) for step in range(1, 21)]  # gradients are there, none is zeroed
    ranks = list(result["ranks"].values())
    assert sum(ranks) == 4 * len(ranks) and len(set(ranks)) > 1 and max(ranks) <= 6


def test_adalora_s_final_parameters_are_those_it_saves(adaptive, tiny_bert):
    from safetensors.torch import load_file

    result, _, folder = adaptive
    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    lora = {name: tensor for name, tensor in saved.items() if ".lora_" in name}
    assert result["lora_parameters"] == sum(tensor.numel() for tensor in lora.values())
    for name, rank in result["ranks"].items():
        (found,) = [t for n, t in lora.items() if f"{name}.lora_E" in n]
        assert len(found) == rank


def test_adalora_s_validation_loss_has_no_penalty_in_it(tiny_bert, tiny_task):
    """At a learning rate of nothing it is that of the pretrained model with this head."""
    losses = []
    for method in ("lora", "adalora"):
        events = []
        settings = Settings(steps=3, batch_size=8, evaluations=1, learning_rate=1e-12)
        plan = same_rank(tiny_bert, 2)
        options = {"method": method, "on_event": events.append}
        finetune(tiny_bert, tiny_task, plan, settings, **options)
        losses.append([e["validation_loss"] for e in events if e["event"] == "evaluation"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_adalora_needs_two_steps(tiny_bert, tiny_task):
    plan = same_rank(tiny_bert, 2)
    with pytest.raises(AdaRankError, match="1 step is too few"):
        finetune(tiny_bert, tiny_task, plan, Settings(steps=1), method="adalora")
    result = finetune(tiny_bert, tiny_task, plan, Settings(steps=2, batch_size=8), method="adalora")
    assert sum(result["ranks"].values()) == 2 * len(result["ranks"])


@pytest.mark.parametrize("method", ["", "dora", "Full"])
def test_unknown_methods_are_refused(tiny_bert, method):
    with pytest.raises(AdaRankError, match=f"the method is {method!r}"):
        adapted(loaded(tiny_bert), same_rank(tiny_bert, 2), method=method)


def test_a_plan_must_fit_the_model(tiny_bert):
    with pytest.raises(AdaRankError, match="'nowhere'"):
        check_plan(loaded(tiny_bert), RankPlan("other", {"nowhere": 2}, {"nowhere": 4}))
    check_plan(loaded(tiny_bert), same_rank(tiny_bert, 32))
