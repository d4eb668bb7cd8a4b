"""Other importance scores, each against its definition worked out another way."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from adarank_core import AdaRankError, Scores, adaptable_modules, allocate, load_model, score
from adarank_core.data.texts import as_texts
from adarank_core.scoring.baselines import (
    depth_ramp,
    empirical_fisher,
    gradient_norm,
    inverse,
    lora_gradient,
    plop,
    random_scores,
    snip,
    stable_rank,
    weight_norm,
)
from adarank_core.scoring.encoding import encode
from adarank_core.scoring.models import ModelBundle
from tests.scoring.closed_form import with_head

# Of equal length, so that one batch has no padding.
TEXTS, LABELS = ["the cat sat on", "a red dog ran", "rain and sun sang"], [1, 0, 1]
FROM_GRADIENTS = {"gradient": gradient_norm, "snip": snip, "fisher": empirical_fisher}
FROM_GRADIENTS |= {"lora-gradient": lora_gradient}


@pytest.fixture(scope="module")
def bundle(tiny_bert):
    """A BERT of hidden size 8 in float64: small enough to try every weight."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = load_model(tiny_bert).tokenizer
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        initializer_range=0.3,
    )
    model = BertForSequenceClassification(config).double().eval()
    return ModelBundle(model, tokenizer, "tiny")


def every_score(bundle):
    """Yield every importance score by its mode."""
    yield "random", random_scores(bundle, 0)
    yield "weight-norm", weight_norm(bundle)
    yield "stable-rank", stable_rank(bundle)
    yield "plop", plop(bundle, TEXTS)
    for mode, function in FROM_GRADIENTS.items():
        yield mode, function(bundle, TEXTS, LABELS)
    found = score(bundle, TEXTS, trials=2)
    yield "ramp-up", depth_ramp(found)
    yield "ramp-down", depth_ramp(found, up=False)
    yield "inverse", inverse(found)


def values(scores):
    return [module.score for module in scores.modules]


def refusal(function, *args):
    with pytest.raises(AdaRankError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def weights_of(bundle):
    """Return every adaptable module's weight as numpy, by name."""
    return {
        module.name: bundle.model.get_submodule(module.name).weight.detach().numpy()
        for module in adaptable_modules(bundle.model)
    }


# What all have in common


def test_every_score_names_all_modules_and_becomes_ranks(bundle):
    names = [module.name for module in adaptable_modules(bundle.model)]
    for mode, scores in every_score(bundle):
        assert scores.mode == mode and scores.model == "tiny"
        assert [module.name for module in scores.modules] == names
        assert all(module.standard_error == 0 for module in scores.modules)
        assert all(module.score > 0 for module in scores.modules)
        assert Scores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores
        plan = allocate(scores, average_rank=3)
        assert sum(plan.ranks.values()) == 3 * len(names)
        assert len(set(plan.ranks.values())) > 1 or mode == "stable-rank"


def test_every_score_is_the_same_every_time_and_leaves_the_model_alone(bundle):
    before = {path: value.clone() for path, value in bundle.model.state_dict().items()}
    first, second = dict(every_score(bundle)), dict(every_score(bundle))
    assert first == second
    assert all(torch.equal(bundle.model.state_dict()[path], before[path]) for path in before)
    assert all(parameter.grad is None for parameter in bundle.model.parameters())


def test_texts_and_seed_are_told_where_they_count(bundle):
    origin = {"source": "list", "count": 3, "sha256": as_texts(TEXTS).sha256}
    for function in FROM_GRADIENTS.values():
        scores = function(bundle, TEXTS, LABELS, seed=4)
        assert (scores.texts, scores.seed) == (origin, 4)
        assert values(scores) != values(function(bundle, TEXTS, LABELS, seed=5))


# With LoRA in place, and against random inputs


def test_the_lora_gradient_is_that_of_pefts_own_b(bundle):
    """Over many draws of A the mean square of B's gradient is the score, for each rank."""
    from peft import get_peft_model

    from adarank_core.ranks.plans import RankPlan, alphas
    from adarank_core.scoring.heads import prepared

    rank, draws = 8, 30
    scores = lora_gradient(bundle, TEXTS, LABELS, seed=2)
    ranks = {module.name: rank for module in scores.modules}
    plan = RankPlan("tiny", ranks, alphas(ranks))
    squares = dict.fromkeys(ranks, 0.0)
    for draw in range(draws):
        torch.manual_seed(draw)
        own = copy.deepcopy(prepared(bundle, 2))
        model = get_peft_model(own, plan.lora_config()).double().eval()
        for text, label in zip(TEXTS, LABELS, strict=True):
            [batch] = encode(bundle, as_texts([text]))
            model.zero_grad()
            logits = model(**batch).logits
            nn.functional.cross_entropy(logits, torch.tensor([label])).backward()
            for name in squares:
                layer = model.base_model.model.get_submodule(name)
                square = layer.lora_B["default"].weight.grad.square().sum()
                # PEFT's scaling is 2 here, and every rank has a share.
                squares[name] += float(square) / (4 * rank * draws * len(TEXTS))
    ratios = [squares[module.name] / module.score for module in scores.modules]
    assert np.allclose(ratios, 1, atol=0.25) and abs(np.mean(ratios) - 1) < 0.03


def test_plop_is_one_over_how_much_longer_outputs_are_than_random_ones(bundle):
    """Measured with random inputs in place of the closed form."""
    from adarank_core.scoring.heads import prepared

    scores, seen = plop(bundle, TEXTS), {}
    model = prepared(bundle, 0)
    for module in scores.modules:
        model.get_submodule(module.name).register_forward_hook(
            lambda layer, inputs, output, name=module.name: seen.update({name: inputs[0]})
        )
    with torch.inference_mode():
        [batch] = encode(bundle, as_texts(TEXTS))  # of equal length: no padding
        model(**batch)
    draw = np.random.default_rng(0)
    for module in scores.modules:
        weight = weights_of(bundle)[module.name]
        inputs = seen[module.name].numpy().reshape(-1, module.in_features)
        lengths = np.linalg.norm(inputs, axis=1, keepdims=True)
        found = np.linalg.norm(inputs / lengths @ weight.T, axis=1).mean()
        noise = draw.normal(size=(20_000, module.in_features))
        noise = noise / np.linalg.norm(noise, axis=1, keepdims=True) @ weight.T
        expected = math.sqrt((noise**2).sum(axis=1).mean()) / found
        assert module.score == pytest.approx(expected, rel=0.02)


# Without data


def test_random_scores_come_from_the_seed(bundle):
    one, other = values(random_scores(bundle, 3)), values(random_scores(bundle, 4))
    assert one == values(random_scores(bundle, 3)) and not set(one) & set(other)
    assert len(set(one)) == len(one) and all(0 < value < 1 for value in one)
    assert random_scores(bundle, 3).seed == 3


def test_the_weight_norm_is_the_root_of_the_sum_of_squares(bundle):
    wanted = [math.sqrt(float((weight**2).sum())) for weight in weights_of(bundle).values()]
    np.testing.assert_allclose(values(weight_norm(bundle)), wanted, rtol=1e-6)


def test_the_stable_rank_by_eigenvalues(bundle):
    wanted = []
    for weight in weights_of(bundle).values():
        squares = np.linalg.eigvalsh(weight @ weight.T)
        wanted.append(squares.sum() / squares.max())
    np.testing.assert_allclose(values(stable_rank(bundle)), wanted, rtol=1e-5)
    assert all(1 <= value <= 8 for value in wanted)


def test_the_stable_rank_of_known_matrices(bundle):
    model = copy.deepcopy(bundle.model)
    names = [module.name for module in adaptable_modules(model)][:2]
    with torch.no_grad():
        model.get_submodule(names[0]).weight.copy_(torch.ones(8, 8))
        model.get_submodule(names[1]).weight.copy_(torch.eye(8))
    found = values(stable_rank(ModelBundle(model, bundle.tokenizer, "known")))
    assert found[:2] == pytest.approx([1, 8], rel=1e-5)
    with torch.no_grad():
        model.get_submodule(names[0]).weight.zero_()
    assert values(stable_rank(ModelBundle(model, bundle.tokenizer, "zeros")))[0] == 0


# From other scores


def test_the_ramp_goes_up_or_down_by_layer(made_up):
    scores = made_up(0)
    up, down = depth_ramp(scores), depth_ramp(scores, up=False)
    assert values(up) == [module.layer + 1 for module in scores.modules]
    assert values(down) == [6 - module.layer for module in scores.modules]


def test_inverse_is_one_over_the_score(made_up):
    scores = made_up(0)
    np.testing.assert_allclose(np.array(values(scores)) * values(inverse(scores)), 1)
    again = inverse(inverse(scores))
    np.testing.assert_allclose(values(again), values(scores))


def test_zero_has_no_inverse(made_up):
    from dataclasses import replace

    scores = made_up(0)
    first, second, *others = scores.modules
    broken = replace(scores, modules=(first, replace(second, score=0.0), *others))
    assert repr(second.name) in refusal(inverse, broken)


# From gradients


def loss_gradients(bundle, texts, labels, seed):
    """Return gradients of the mean loss of one batch, by a plain backward pass."""
    model = with_head(bundle, seed)
    [batch] = encode(bundle, as_texts(texts))
    assert batch["attention_mask"].all()
    model(**batch, labels=torch.tensor(labels)).loss.backward()
    return {
        module.name: model.get_submodule(module.name).weight.grad.numpy()
        for module in adaptable_modules(model)
    }


def test_gradient_norm_is_that_of_the_batch_s_loss(bundle):
    gradients = loss_gradients(bundle, TEXTS, LABELS, 7).values()
    wanted = [math.sqrt(float((gradient**2).sum())) for gradient in gradients]
    found = gradient_norm(bundle, TEXTS, LABELS, seed=7)
    np.testing.assert_allclose(values(found), wanted, rtol=1e-6)


def test_snip_is_the_gradient_times_the_weight(bundle):
    gradients, weights = loss_gradients(bundle, TEXTS, LABELS, 7), weights_of(bundle)
    wanted = [np.abs(gradients[name] * weights[name]).sum() for name in weights]
    np.testing.assert_allclose(values(snip(bundle, TEXTS, LABELS, seed=7)), wanted, rtol=1e-6)


def test_fisher_squares_each_text_s_gradient_on_its_own(bundle):
    each = [
        loss_gradients(bundle, [text], [label], 7)
        for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    wanted = [
        np.mean([(gradients[name] ** 2).sum() for gradients in each]) for name in weights_of(bundle)
    ]
    found = empirical_fisher(bundle, TEXTS, LABELS, seed=7)
    np.testing.assert_allclose(values(found), wanted, rtol=1e-6)


def test_texts_of_unlike_length_count_alike(bundle):
    texts, labels = ["the cat", "a red dog ran under the old sun"], [0, 1]
    each = [
        loss_gradients(bundle, [text], [label], 0)
        for text, label in zip(texts, labels, strict=True)
    ]
    wanted = [np.linalg.norm(each[0][name] + each[1][name]) / 2 for name in weights_of(bundle)]
    np.testing.assert_allclose(values(gradient_norm(bundle, texts, labels)), wanted, rtol=1e-6)


@pytest.mark.parametrize("function", FROM_GRADIENTS.values(), ids=FROM_GRADIENTS)
def test_labels_must_fit(bundle, function):
    assert "2 labels for 3 texts" in refusal(function, bundle, TEXTS, [0, 1])
    assert "4 labels for 3 texts" in refusal(function, bundle, TEXTS, [0, 1, 0, 1])
    assert "the label 2 is none of the head's 2 classes" in refusal(
        function, bundle, TEXTS, [0, 2, 1]
    )
    assert "the label -1 is none" in refusal(function, bundle, TEXTS, [0, 1, -1])


def test_a_causal_model_s_labels_are_its_next_tokens(tiny_gpt2):
    causal = load_model(tiny_gpt2)
    assert min(values(gradient_norm(causal, TEXTS, [4, 5, 23]))) > 0
    assert "none of the head's 24 classes" in refusal(gradient_norm, causal, TEXTS, [4, 5, 24])


@pytest.mark.parametrize("mode", FROM_GRADIENTS)
def test_a_frozen_model_gives_the_same_scores_and_stays_frozen(bundle, mode):
    frozen = ModelBundle(copy.deepcopy(bundle.model), bundle.tokenizer, "tiny")
    frozen.model.requires_grad_(False)
    frozen.model.bert.encoder.layer[0].output.dense.bias.requires_grad_(True)
    flags = [parameter.requires_grad for parameter in frozen.model.parameters()]
    function = FROM_GRADIENTS[mode]
    assert function(frozen, TEXTS, LABELS) == function(bundle, TEXTS, LABELS)
    assert [parameter.requires_grad for parameter in frozen.model.parameters()] == flags
    assert all(parameter.grad is None for parameter in frozen.model.parameters())


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_told(bundle, broken):
    model = copy.deepcopy(bundle.model)
    name = "bert.encoder.layer.0.attention.self.query"
    with torch.no_grad():
        model.get_submodule(name).weight[0, 0] = broken
    bad = ModelBundle(model, bundle.tokenizer, "bad")
    calls = [(weight_norm, ()), (stable_rank, ())]
    calls += [(function, (TEXTS, LABELS)) for function in FROM_GRADIENTS.values()]
    for function, arguments in calls:
        told = refusal(function, bad, *arguments)
        assert repr(name) in told and "the weights may be broken" in told


def test_a_module_that_no_logit_depends_on_scores_zero(bundle):
    model = copy.deepcopy(bundle.model)
    model.bert.encoder.layer[0].spare = nn.Linear(8, 8).double()
    spare = ModelBundle(model, bundle.tokenizer, "spare")
    for function in FROM_GRADIENTS.values():
        found = function(spare, TEXTS, LABELS)
        zero = [module.name for module in found.modules if module.score == 0]
        assert zero == ["bert.encoder.layer.0.spare"]
