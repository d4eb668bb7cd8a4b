"""EVA's ranks as scores: against PEFT's own initialisation and against singular values."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from adarank_core import AdaRankError, Scores, adaptable_modules, allocate, load_model
from adarank_core.data.texts import as_texts
from adarank_core.scoring import eva as eva_file
from adarank_core.scoring.encoding import encode
from adarank_core.scoring.eva import eva
from adarank_core.scoring.models import ModelBundle

NAMES = ("bert", "llama")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0}


@pytest.fixture(scope="module")
def bundles(tiny_bert):
    bert = load_model(tiny_bert)
    sizes = {**SIZES, "vocab_size": len(bert.tokenizer)}
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(intermediate_size=48, **sizes))
    opt = OPTForCausalLM(OPTConfig(ffn_dim=48, word_embed_proj_dim=32, **sizes))
    positions = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
    deberta = DebertaV2ForSequenceClassification(
        DebertaV2Config(intermediate_size=48, **positions, **sizes)
    )
    for model in (llama, opt):
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.15)
    models = {"llama": llama, "opt": opt, "deberta": deberta}
    return {"bert": bert} | {
        name: ModelBundle(model.eval(), bert.tokenizer, name) for name, model in models.items()
    }


@pytest.fixture(params=NAMES)
def tiny(request, bundles):
    return bundles[request.param]


def ranks(scores):
    return {module.name: module.score for module in scores.modules}


def refusal(*arguments, **options):
    with pytest.raises(AdaRankError) as caught:
        eva(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_scores_are_the_ranks_of_peft_s_initialisation(tiny, texts):
    """Every size of LoRA's matrices, as PEFT leaves them, 0 where it took a module out."""
    names = [module.name for module in adaptable_modules(tiny.model)]
    config = LoraConfig(
        r=3,
        target_modules=names,
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=3.0),
    )
    model = get_peft_model(copy.deepcopy(tiny.model), config)
    batches = encode(tiny, as_texts(texts), batch_size=len(texts))
    initialize_lora_eva_weights(model, batches, show_progress_bar=False)
    wanted = dict.fromkeys(names, 0)
    for path, parameter in model.named_parameters():
        if ".lora_A." in path:
            wanted[path.removeprefix("base_model.model.").split(".lora_A.")[0]] = len(parameter)
    assert ranks(eva(tiny, texts, average_rank=3, rho=3.0)) == wanted
    assert len(set(wanted.values())) > 1


def test_the_scores_follow_the_variance_that_singular_vectors_explain(tiny, texts):
    """Singular values of the centred inputs at real tokens, the budget to the largest shares."""
    inputs = {}
    model = copy.deepcopy(tiny.model)
    [batch] = encode(tiny, as_texts(texts), batch_size=len(texts))
    names = [module.name for module in adaptable_modules(model)]
    for name in names:

        def keep(_module, args, name=name):
            inputs[name] = args[0][batch["attention_mask"].bool()].numpy().astype(float)

        model.get_submodule(name).register_forward_pre_hook(keep)
    with torch.no_grad():
        model(**batch)
    shares = []
    for name in names:
        centred = inputs[name] - inputs[name].mean(axis=0)
        squares = np.linalg.svd(centred, compute_uv=False) ** 2
        shares += [(share, name) for share in squares[:9] / squares.sum()]
    kept = [name for _, name in sorted(shares, reverse=True)[: 3 * len(names)]]
    found = ranks(eva(tiny, texts, average_rank=3, rho=3.0))
    # Modules with one and the same input tie, so one of them may get a rank more.
    assert all(abs(found[name] - kept.count(name)) <= 1 for name in names)
    assert np.corrcoef([found[n] for n in names], [kept.count(n) for n in names])[0, 1] > 0.8


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_allocating_at_the_same_budget_gives_eva_s_ranks_back(tiny, texts, rank):
    scores = eva(tiny, texts, average_rank=rank, rho=2.0)
    plan = allocate(scores, average_rank=rank, min_rank=0, budget_by="rank")
    assert ranks(scores) == plan.ranks
    assert sum(plan.ranks.values()) == rank * len(scores.modules)
    assert max(plan.ranks.values()) <= 2 * rank


def test_without_redistribution_all_ranks_are_equal(tiny, texts):
    assert set(ranks(eva(tiny, texts, average_rank=4, rho=1.0)).values()) == {4}


def test_the_model_is_bit_for_bit_as_it_was(tiny, texts):
    model, before = tiny.model, {k: v.clone() for k, v in tiny.model.state_dict().items()}
    model.train()
    flags = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    first = eva(tiny, texts, average_rank=3)
    assert flags == [(module.training, len(module._forward_hooks)) for module in model.modules()]
    model.eval()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not hasattr(model, "peft_config")
    assert eva(tiny, texts, average_rank=3) == first


def test_it_is_written_down_like_any_score(tiny, texts):
    scores = eva(tiny, texts, average_rank=3)
    origin = {"source": "list", "count": 20, "sha256": as_texts(texts).sha256}
    assert (scores.mode, scores.estimator, scores.texts) == ("eva", "none", origin)
    assert all(module.standard_error == 0 for module in scores.modules)
    assert Scores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores


def test_feed_forwards_that_get_all_texts_in_one_row_count_too(bundles, texts):
    scores = eva(bundles["opt"], texts, average_rank=3)
    assert sum(ranks(scores).values()) == 3 * len(scores.modules)


def test_what_eva_cannot_do_is_one_sentence(bundles, texts, monkeypatch):
    bert = bundles["bert"]
    for rank in (0, -1, 2.5, math.nan):
        assert f"average_rank is {rank!r}" in refusal(bert, texts, average_rank=rank)
    for rho in (0.5, math.nan, math.inf):
        assert f"rho is {rho}" in refusal(bert, texts, rho=rho)
    assert "could get rank 40" in refusal(bert, texts, average_rank=20)
    assert "the texts have 4 tokens, but EVA needs 16" in refusal(bert, ["the cat"])
    assert "each module has to read all tokens" in refusal(bundles["deberta"], texts, 2)
    broken = ModelBundle(copy.deepcopy(bert.model), bert.tokenizer, "broken")
    broken.model.bert.encoder.layer[0].output.dense.weight.data[0, 0] = math.nan
    assert "its inputs have to be finite" in refusal(broken, texts, 2)
    monkeypatch.setattr(eva_file, "MOST_PASSES", 1)
    assert "did not settle in 1 passes" in refusal(bert, texts, 2)
    # PEFT leaves its hooks behind when it is stopped, though not on the bundle's model.
    assert not any(module._forward_hooks for module in bert.model.modules())
