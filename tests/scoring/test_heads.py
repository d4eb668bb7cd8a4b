"""The expected head against averages over drawn heads, and what of a head counts as random."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

from adarank_core import AdaRankError, load_model, score
from adarank_core.data.texts import as_texts
from adarank_core.scoring import heads as heads_file
from adarank_core.scoring.encoding import encode, logits_of
from adarank_core.scoring.heads import fresh_head, readout, trained_names
from adarank_core.scoring.models import ModelBundle, adaptable_modules
from adarank_core.scoring.noise import add_to_output, generator_for, weight_noise
from adarank_core.scoring.options import ScoringOptions

TEXTS = ["the cat sat on the red dog", "a good dog"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "num_labels": 20,
}
# Each with the random layers of its head, the last one last.
HEADS = {
    "bert": (SIZES, ["classifier"]),
    "roberta": (SIZES, ["classifier.dense", "classifier.out_proj"]),
    "electra": ({**SIZES, "embedding_size": 16}, ["classifier.dense", "classifier.out_proj"]),
    "deberta-v2": ({**SIZES, "pooler_hidden_size": 16}, ["pooler.dense", "classifier"]),
    "distilbert": (
        {**SIZES, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
        ["pre_classifier", "classifier"],
    ),
    "albert": ({**SIZES, "embedding_size": 16}, ["classifier"]),
    "gpt2": ({**SIZES, "n_embd": 16, "n_layer": 2, "n_head": 2}, ["score"]),
    "llama": (SIZES, ["score"]),
    "t5": (
        {**SIZES, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
        | {"decoder_start_token_id": 0, "eos_token_id": 3},
        ["classification_head.dense", "classification_head.out_proj"],
    ),
    "modernbert": (SIZES, ["head.dense", "classifier"]),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    return load_model(tiny_bert).tokenizer


def built(kind, tokenizer):
    """Make a tiny classifier of which all but the head counts as pretrained."""
    sizes, layers = HEADS[kind]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **sizes)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3)
    random = frozenset(f"{name}.weight" for name in layers)
    return ModelBundle(model, tokenizer, kind, random)


def noisy_bodies(bundle, batch):
    """Return what the base model gives with noise on its last module, for two noisy models."""
    body, given = bundle.model.base_model, []
    modules = adaptable_modules(bundle.model)
    name = next(m.name for m in reversed(modules) if "value" not in m.family)
    layer = bundle.model.get_submodule(name)
    handle = body.register_forward_hook(lambda _module, _args, output: given.append(output))
    with torch.inference_mode():
        for instance in range(2):
            noise = weight_noise(layer.weight, 1.0, generator_for(0, name, instance))
            with add_to_output(layer, noise):
                bundle.model(**batch)
    handle.remove()
    return given


def values_of(model, bodies, batch):
    """Return the logits that a head gives to what two bodies gave, texts × 2 × logits."""
    own, found = model.base_model.forward, []
    for body in bodies:
        model.base_model.forward = lambda *_args, body=body, **_kwargs: body
        with torch.inference_mode():
            found.append(logits_of(model, batch))
    model.base_model.forward = own
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("kind", HEADS)
def test_the_expectation_is_the_average_over_two_thousand_heads(kind, tokenizer, monkeypatch):
    """All of a head's random layers are drawn anew, with the same noise in the body."""
    bundle = built(kind, tokenizer)
    [batch] = encode(bundle, as_texts(TEXTS))
    bodies = noisy_bodies(bundle, batch)
    monkeypatch.setattr(heads_file, "DRAWS", 400)
    found = readout(bundle, ScoringOptions(), batch)
    assert found.head_draw == "expected" and found.norm == 2
    assert found.draws == (1 if len(HEADS[kind][1]) == 1 else 400)
    distances = found.distances(values_of(found.model, bodies, batch))
    expected = distances.mean(dim=1)[:, 0, 1]

    drawn = torch.zeros(len(TEXTS), dtype=torch.float64)
    for seed in range(2000):
        for name, layer in fresh_head(bundle, seed).items():
            bundle.model.set_submodule(name, layer)
        one, other = values_of(bundle.model, bodies, batch).double().unbind(dim=1)
        drawn += (one - other).abs().sum(dim=1) / 2000
    # The average over 2,000 heads of 20 labels is known to 0.4%.
    torch.testing.assert_close(expected, drawn, rtol=0.01 if found.draws == 1 else 0.05, atol=0)
    assert (drawn > 0).all()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_both_estimators_agree_over_all_modules(kind, tokenizer):
    bundle = built(kind, tokenizer)
    paired = score(bundle, TEXTS, estimator="paired", trials=200)
    fast = score(bundle, TEXTS, trials=100, precision="float32")
    for one, other in zip(paired.modules, fast.modules, strict=True):
        error = math.hypot(one.standard_error, other.standard_error)
        assert abs(one.score - other.score) < 4.5 * error
        assert other.score == pytest.approx(one.score, rel=0.15)


def test_the_error_covers_the_draws_of_the_layers_before_the_last(tokenizer):
    bundle = built("roberta", tokenizer)
    options = {"trials": 8, "modules": r"layer\.1\.output"}
    draws = [score(bundle, TEXTS[:1], seed=seed, **options).modules[0] for seed in range(40)]
    spread = np.std([module.score for module in draws], ddof=1)
    assert 0.75 < spread / np.mean([module.standard_error for module in draws]) < 1.3


def test_the_mean_of_scores_with_drawn_heads_is_the_expected_score(tokenizer):
    bundle = built("bert", tokenizer)
    [module] = score(bundle, TEXTS, trials=60, modules="layer.1.output").modules[-1:]
    heads = [
        score(bundle, TEXTS, trials=8, modules="layer.1.output", seed=seed, head_draw="seed")
        for seed in range(60)
    ]
    drawn = np.array([scores.modules[-1].score for scores in heads])
    assert drawn.mean() == pytest.approx(module.score, abs=3 * drawn.std() / math.sqrt(60))


# What is random


def test_a_checkpoint_s_own_head_of_the_right_size_is_kept(tiny_bert, tmp_path):
    bundle = load_model(tiny_bert, labels=3)
    assert bundle.random == {"classifier.weight", "classifier.bias"}
    bundle.model.save_pretrained(tmp_path)
    bundle.tokenizer.save_pretrained(tmp_path)
    trained = load_model(tmp_path, labels=3)
    assert not trained.random and fresh_head(trained, 1) == {}
    assert score(trained, TEXTS, trials=2).head_draw == "trained"
    other = load_model(tmp_path, labels=4)
    assert list(fresh_head(other, 1)) == ["classifier"]
    assert score(other, TEXTS, trials=2).head_draw == "expected"
    assert score(other, TEXTS, trials=2, head_draw="seed").head_draw == "seed"


def test_a_pooler_that_the_checkpoint_lacks_is_drawn_and_trained(tiny_bert, tmp_path):
    whole = load_model(tiny_bert)
    body = {k: v for k, v in whole.model.state_dict().items() if "layer" in k or "embed" in k}
    whole.model.save_pretrained(tmp_path, state_dict=body)
    whole.tokenizer.save_pretrained(tmp_path)
    bundle = load_model(tmp_path)
    assert list(fresh_head(bundle, 1)) == ["bert.pooler.dense", "classifier"]
    found = readout(bundle, ScoringOptions(), encode(bundle, as_texts(TEXTS))[0])
    assert found.draws == heads_file.DRAWS
    assert trained_names(bundle) == ["classifier", "bert.pooler.dense"]


def test_a_head_depends_on_the_seed_and_the_draw_alone(embedded):
    before = embedded.model.classifier.weight.clone()
    drawn = [(0, 0), (0, 0), (1, 0), (0, 1)]
    one, same, *others = (fresh_head(embedded, *draw)["classifier"] for draw in drawn)
    assert torch.equal(one.weight, same.weight)
    assert not any(torch.equal(one.weight, other.weight) for other in others)
    assert one.weight.std().item() == pytest.approx(0.02, rel=0.1) and not one.bias.any()
    assert torch.equal(embedded.model.classifier.weight, before)


def test_a_language_model_trains_no_head_beside_an_adapter(tiny_gpt2):
    causal = load_model(tiny_gpt2)
    assert trained_names(causal) == [] and score(causal, TEXTS, trials=2).head_draw == "trained"


class Bent(nn.Linear):
    """A last layer that is none."""

    def forward(self, inputs):
        return super().forward(inputs).tanh()


def test_a_head_that_is_not_linear_at_its_end_is_refused(tokenizer):
    bundle = built("bert", tokenizer)
    bundle.model.classifier = Bent(16, 20)
    with pytest.raises(AdaRankError, match=r"does not end in a linear layer.*head_draw 'seed'"):
        score(bundle, TEXTS)
    assert score(bundle, TEXTS, trials=2, head_draw="seed").head_draw == "seed"


# A vocabulary's sample


@pytest.fixture(scope="module")
def wide_llama(tokenizer):
    """A language model of 4,096 tokens, of which the tokenizer knows few."""
    sizes = {key: value for key, value in SIZES.items() if key != "num_labels"}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=4096, **sizes)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3)
    return ModelBundle(model, tokenizer, "wide")


@pytest.mark.parametrize("estimator", ["fast", "paired"])
def test_a_sample_of_the_vocabulary_is_unbiased_and_its_error_told(wide_llama, estimator):
    """The noise is the seed's as well, so that the whole vocabulary tells what it alone does."""
    options = {"trials": 4, "estimator": estimator, "modules": r"1\.mlp\.down"}
    texts = [f"{first} the old {second}" for first in TEXTS for second in ("cat sat", "dog", "red")]
    off, variances = [], []
    for seed in range(40):
        whole, drawn = (
            score(wide_llama, texts, seed=seed, vocabulary_sample=size, **options).modules[0]
            for size in (None, 256)
        )
        off.append(drawn.score - whole.score)
        variances.append(drawn.standard_error**2 - whole.standard_error**2)
    deviation = np.mean(variances) ** 0.5
    assert abs(np.mean(off)) < 3 * deviation / math.sqrt(40)
    assert 0.75 < np.std(off) / deviation < 1.3


def test_a_vocabulary_that_fits_is_taken_whole(wide_llama):
    options = {"trials": 2, "modules": "down"}
    whole = score(wide_llama, TEXTS, vocabulary_sample=None, **options)
    assert score(wide_llama, TEXTS, vocabulary_sample=4096, **options) == whole
    assert score(wide_llama, TEXTS, vocabulary_sample=9999, **options) == whole


def test_logits_at_all_tokens_are_a_language_model_s_default(wide_llama):
    options = {"trials": 2, "modules": "down"}
    assert score(wide_llama, TEXTS, **options) == score(wide_llama, TEXTS, logits="all", **options)


class Normed(LlamaForCausalLM):
    """A language model whose logits are mixed after its head."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits.log_softmax(dim=-1)
        return output


def test_of_a_head_that_is_more_than_linear_the_whole_vocabulary_counts(wide_llama):
    model = Normed(wide_llama.model.config).eval()
    model.load_state_dict(wide_llama.model.state_dict())
    bundle, options = ModelBundle(model, wide_llama.tokenizer, "normed"), {"modules": "down"}
    whole = score(bundle, TEXTS, trials=2, vocabulary_sample=None, **options)
    assert score(bundle, TEXTS, trials=2, vocabulary_sample=64, **options) == whole


@pytest.mark.parametrize("kind", ["gpt2", "llama", "roberta"])
def test_a_model_in_bfloat16_has_an_expected_head_too(kind, tokenizer):
    """Elsewhere products may round by their shape, so that no equality to the bit is asked for."""
    bundle = built(kind, tokenizer)
    bundle.model.bfloat16()
    for length in range(1, 8):
        [batch] = encode(bundle, as_texts([" ".join(["the cat sat"] * length)]))
        assert readout(bundle, ScoringOptions(), batch).head_draw == "expected"


def test_a_vocabulary_in_bfloat16_is_sampled_too(wide_llama):
    bundle = replace(wide_llama, model=copy.deepcopy(wide_llama.model).bfloat16())
    for length in range(1, 8):
        [batch] = encode(bundle, as_texts([" ".join(["the cat sat"] * length)]))
        found = readout(bundle, ScoringOptions(logits="all", vocabulary_sample=100), batch)
        assert found.draws == heads_file.GROUPS and found.unseen == 1 - 96 / 4096
