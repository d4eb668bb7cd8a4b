"""Packed weights: bitsandbytes' are scored like the weights they stand for, others refused."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from adarank_core import AdaRankError, load_model, score
from adarank_core.scoring.models import ModelBundle, adaptable_modules
from adarank_core.scoring.quantised import is_packed, unpacked

TEXTS = ["the cat sat on the red dog", "a good dog", "rain"]


def packed_4bit(bnb, layer):
    packed = bnb.nn.Linear4bit(
        layer.in_features, layer.out_features, quant_type="nf4", compute_dtype=torch.float32
    )
    packed.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
    packed.bias = layer.bias
    return packed.to("cpu")


def packed_8bit(bnb, layer):
    packed = bnb.nn.Linear8bitLt(layer.in_features, layer.out_features, has_fp16_weights=False)
    packed.weight = bnb.nn.Int8Params(
        layer.weight.data, requires_grad=False, has_fp16_weights=False
    )
    packed.bias = layer.bias
    return packed.to("cpu")


@pytest.fixture
def bundle(tiny_bert):
    """A BERT whose sizes are multiples of the 64 numbers that share a scale."""
    torch.manual_seed(0)
    tokenizer = load_model(tiny_bert).tokenizer
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        initializer_range=0.2,
    )
    return ModelBundle(BertForSequenceClassification(config).eval(), tokenizer, "small")


@pytest.fixture(params=[packed_4bit, packed_8bit])
def both(request, bundle):
    """A model with packed weights, and one with the weights that they stand for."""
    bnb = pytest.importorskip("bitsandbytes")
    packed, plain = copy.deepcopy(bundle.model), copy.deepcopy(bundle.model)
    for module in adaptable_modules(bundle.model):
        layer = request.param(bnb, packed.get_submodule(module.name))
        packed.set_submodule(module.name, layer)
        plain.get_submodule(module.name).weight.data = unpacked(layer).float()
    return replace(bundle, model=packed), replace(bundle, model=plain)


def test_an_unpacked_weight_is_near_the_one_that_was_packed(both, bundle):
    packed, _ = both
    for module in adaptable_modules(packed.model):
        layer = packed.model.get_submodule(module.name)
        weight = bundle.model.get_submodule(module.name).weight
        assert is_packed(layer) and unpacked(layer).shape == weight.shape
        assert (unpacked(layer) - weight).abs().mean() < 0.15 * weight.std()


@pytest.mark.parametrize("estimator", ["fast", "paired"])
def test_packed_weights_score_as_those_they_stand_for(both, estimator):
    packed, plain = both
    options = {"trials": 4, "estimator": estimator, "precision": "float32"}
    found, wanted = (score(bundle, TEXTS, **options) for bundle in (packed, plain))
    assert len(found.modules) == 12
    for one, other in zip(found.modules, wanted.modules, strict=True):
        # 8-bit products round their inputs as well.
        assert one.score == pytest.approx(other.score, rel=0.05)


def test_scoring_leaves_packed_weights_as_they_were(both):
    packed, _ = both
    layers = [packed.model.get_submodule(m.name) for m in adaptable_modules(packed.model)]
    before = [unpacked(layer).clone() for layer in layers]
    score(packed, TEXTS, trials=2)
    for layer, weight in zip(layers, before, strict=True):
        # To their last digits: bitsandbytes rearranges them for a processor at their first use.
        torch.testing.assert_close(unpacked(layer), weight, rtol=0.01, atol=1e-3)
        assert is_packed(layer)


class WQLinear(nn.Module):
    """As AWQ's: no linear module, and a weight under another name."""

    def __init__(self):
        super().__init__()
        self.register_buffer("qweight", torch.zeros(2, 2, dtype=torch.int32))


def test_what_packs_its_weight_in_another_way_is_refused_by_name(tiny_bert):
    bundle = load_model(tiny_bert)
    bundle.model.bert.encoder.layer[1].attention.self.key = WQLinear()
    with pytest.raises(AdaRankError, match=r"key' is a quantised WQLinear, which holds qweight; "):
        adaptable_modules(bundle.model)


def test_a_model_with_lora_in_it_is_refused(tiny_bert):
    from peft import LoraConfig, get_peft_model

    bundle = load_model(tiny_bert)
    wrapped = get_peft_model(bundle.model, LoraConfig(target_modules=["query"]))
    for model in (wrapped, wrapped.base_model.model):
        with pytest.raises(AdaRankError, match="also holds an adapter"):
            score(replace(bundle, model=model), TEXTS)
