"""The two estimators against each other and against the closed form of small noise."""

import copy
import math

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

from adarank_core import allocate, load_model, score, score_iter
from adarank_core.data.texts import as_texts
from adarank_core.scoring.encoding import encode, logits_of
from adarank_core.scoring.estimators import _smaller_batches
from adarank_core.scoring.models import ModelBundle, adaptable_modules
from tests.scoring.closed_form import small_noise_scores, with_head

TEXTS = ["the cat sat on the red dog", "the dog", "a red cat sat", "the cat sat"]


def louder(model, deviation=0.15):
    """Draw weights large enough for the logits to move."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, deviation)
    return model.eval()


@pytest.fixture(scope="module")
def loud_bert(tiny_bert):
    bundle = load_model(tiny_bert)
    return ModelBundle(louder(bundle.model), bundle.tokenizer, "loud")


@pytest.fixture(scope="module")
def llama(tiny_bert):
    tokenizer = load_model(tiny_bert).tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    return ModelBundle(louder(LlamaForCausalLM(config)), tokenizer, "llama")


def noise_only(scores_of, seeds):
    """Return means and standard errors over repeats that differ in noise alone."""
    found = np.array([[m.score for m in scores_of(seed).modules] for seed in seeds])
    return found.mean(axis=0), found.std(axis=0, ddof=1) / math.sqrt(len(found))


def test_both_estimators_converge_to_the_same_scores(llama):
    """A causal model keeps its head, so that seeds differ in noise alone."""
    plain, plain_error = noise_only(
        lambda seed: score(llama, TEXTS, estimator="paired", trials=20, seed=seed), range(12)
    )
    fast, fast_error = noise_only(
        lambda seed: score(llama, TEXTS, trials=12, seed=100 + seed, precision="float32"), range(24)
    )
    z = (plain - fast) / np.hypot(plain_error, fast_error)
    # Bonferroni over 14 modules, at one false alarm in a thousand runs.
    assert np.abs(z).max() < 4.2
    assert np.abs(fast / plain - 1).max() < 0.12


@pytest.mark.parametrize("name", ["loud_bert", "llama"])
def test_small_noise_has_the_closed_form(name, request):
    bundle = request.getfixturevalue(name)
    doubled = ModelBundle(copy.deepcopy(bundle.model).double(), bundle.tokenizer, bundle.name)
    texts = TEXTS[:2]
    expected = small_noise_scores(doubled, texts)
    options = {"precision": "float32", "head_draw": "seed", "logits": "last"}
    scores = score(doubled, texts, noise_scale=1e-3, trials=1500, seed=0, **options)
    found = np.array([module.score for module in scores.modules]) / 1e-3
    assert np.abs(found / expected - 1).max() < 0.02


# Of equal length, so that one batch has no padding.
EQUAL = ["the cat sat on", "a red dog ran", "rain and sun sang"]


@pytest.fixture(scope="module")
def small_bert(tiny_bert):
    """A BERT of hidden size 8 in float64: small enough to try every weight."""
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
    return ModelBundle(BertForSequenceClassification(config).double().eval(), tokenizer, "small")


def test_the_closed_form_by_finite_differences(small_bert):
    """Move every weight a little, and see how far the logits of each text go."""
    model, step = with_head(small_bert, 7), 1e-4
    [batch] = encode(small_bert, as_texts(EQUAL))
    expected = []
    with torch.inference_mode():
        for module in adaptable_modules(model):
            weight = model.get_submodule(module.name).weight
            squares = torch.zeros(len(EQUAL), 2, dtype=torch.float64)
            for at in range(weight.numel()):
                entry = weight.view(-1)[at]
                before = entry.item()
                entry.fill_(before + step)
                up = model(**batch).logits
                entry.fill_(before - step)
                down = model(**batch).logits
                entry.fill_(before)
                squares += ((up - down) / (2 * step)) ** 2
            norms = squares.sqrt().sum(dim=1).mean().item()
            expected.append(2 / math.sqrt(math.pi) * weight.std().item() * norms)
    np.testing.assert_allclose(small_noise_scores(small_bert, EQUAL, seed=7), expected, rtol=1e-5)


def test_the_paper_s_pairs_tend_to_the_closed_form(small_bert):
    """The difference is within 4 of its standard errors, and these are below 2 percent."""
    options = {"estimator": "paired", "trials": 1500, "modules": r"layer\.1\.output", "seed": 7}
    options["head_draw"] = "seed"
    # One text: an error over texts has no place where both sides see the same ones.
    [module] = score(small_bert, EQUAL[:1], noise_scale=1e-3, **options).modules
    names = [other.name for other in adaptable_modules(small_bert.model)]
    expected = small_noise_scores(small_bert, EQUAL[:1], 7)[names.index(module.name)]
    error = module.standard_error / 1e-3
    assert error < 0.02 * expected and abs(module.score / 1e-3 - expected) < 4 * error


def test_small_noise_is_within_two_percent_of_the_closed_form(small_bert):
    """Each text ten times over, so that ten times as much noise is drawn for it."""
    options = {"precision": "float32", "head_draw": "seed"}
    near = score(small_bert, EQUAL * 10, noise_scale=1e-3, trials=600, seed=7, **options)
    found = np.array([module.score for module in near.modules]) / 1e-3
    np.testing.assert_allclose(found, small_noise_scores(small_bert, EQUAL, 7), rtol=0.02)


def test_bfloat16_changes_scores_by_less_than_their_error(embedded):
    options = {"trials": 8, "seed": 0, "modules": r"layer\.[05]\."}
    exact = score(embedded, TEXTS, precision="float32", **options)
    rough = score(embedded, TEXTS, precision="bfloat16", **options)
    for one, other in zip(exact.modules, rough.modules, strict=True):
        assert one.score != other.score
        assert other.score == pytest.approx(one.score, rel=0.03)


def test_order_and_number_of_modules_change_no_score(loud_bert):
    whole = {m.name: m for m in score(loud_bert, TEXTS, trials=3, precision="float32").modules}
    for module in whole.values():
        pattern = f"^{module.name}$".replace(".", r"\.")
        [alone] = score(loud_bert, TEXTS, trials=3, precision="float32", modules=pattern).modules
        assert alone.score == pytest.approx(module.score, rel=1e-6)


def test_the_order_of_texts_changes_no_mean(loud_bert):
    """A text's noise belongs to its place, so only the pairing of noise and text moves."""
    many = [f"the cat {'sat ' * (n % 5)}" for n in range(40)]
    [one] = score(loud_bert, many, trials=8, modules=r"1\.output").modules[-1:]
    [other] = score(loud_bert, many[::-1], trials=8, modules=r"1\.output").modules[-1:]
    assert abs(one.score - other.score) < 5 * math.hypot(one.standard_error, other.standard_error)


def test_a_tolerance_adds_instances_until_ranks_hold_still(loud_bert):
    loose = score(loud_bert, TEXTS, tolerance=4.0, precision="float32")
    tight = score(loud_bert, TEXTS, tolerance=0.8, precision="float32")
    assert loose.trials < tight.trials <= 128 and tight.trials % 4 == 0
    again = score(loud_bert, TEXTS, trials=tight.trials, seed=0, precision="float32")
    # The same head and as many instances, other noise for all but the first round.
    ranks, others = (allocate(found, 8, min_rank=0).ranks for found in (tight, again))
    changes = [abs(ranks[name] - others[name]) for name in ranks]
    assert np.mean(changes) <= 1.5


def test_a_tolerance_ends_at_the_last_round(loud_bert, monkeypatch):
    from adarank_core.scoring import estimators

    monkeypatch.setattr(estimators, "MOST_ROUNDS", 2)
    steps = list(score_iter(loud_bert, TEXTS[:1], tolerance=1e-9, modules="query"))
    assert steps[-1].scores.trials == 8 and steps[-1].done == steps[-1].total == 4


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("lengths", [(3, 3, 4, 5, 9, 9, 40), (200,), (100,) * 11, (2, 300, 600)])
def test_batches_hold_texts_of_like_length_and_few_tokens(lengths, side):
    mask = torch.tensor([[1] * length + [0] * (max(lengths) - length) for length in lengths])
    mask = mask.flip(1) if side == "left" else mask
    parts = list(_smaller_batches({"input_ids": 7 * mask, "attention_mask": mask}))
    found = [part["attention_mask"].sum(dim=1).tolist() for part in parts]
    assert [length for part in found for length in part] == list(lengths)
    for part, batch in zip(found, parts, strict=True):
        assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(part), part[-1])
        assert part[-1] <= 1.25 * part[0] and (len(part) == 1 or len(part) * part[-1] <= 512)
    if lengths[0] == 3:
        assert found == [[3, 3], [4, 5], [9, 9], [40]]


def test_few_texts_get_more_instances(loud_bert):
    for count, trials in ((1, 16), (4, 16), (9, 7), (16, 4), (40, 4)):
        steps = score_iter(loud_bert, ["the cat"] * count, modules="1.output")
        assert next(steps).scores.trials == trials


def test_a_language_model_is_asked_for_the_last_logits_only(llama):
    asked, head = [], llama.model.lm_head
    handle = head.register_forward_pre_hook(lambda _module, args: asked.append(args[0].shape[1]))
    [batch] = encode(llama, as_texts(["the cat sat"]))
    logits_of(llama.model, batch)
    handle.remove()
    assert asked == [1]


@pytest.mark.parametrize("noise", ["uniform", "absolute", "gaussian,bias"])
def test_both_estimators_know_the_same_noise(loud_bert, noise):
    options = {"modules": r"1\.(attention\.self\.value|output)", "noise": noise}
    options["noise_scale"] = 0.3
    plain = score(loud_bert, TEXTS, estimator="paired", trials=150, **options)
    fast = score(loud_bert, TEXTS, trials=60, precision="float32", **options)
    for one, other in zip(plain.modules, fast.modules, strict=True):
        error = math.hypot(one.standard_error, other.standard_error)
        assert abs(one.score - other.score) < 4 * error
        assert error < 0.06 * one.score
    assert fast.to_dict()["noise"] == noise


def test_a_noisy_bias_moves_more_than_the_weight_alone(loud_bert):
    bundle = ModelBundle(copy.deepcopy(loud_bert.model), loud_bert.tokenizer, "biased")
    name = "bert.encoder.layer.1.output.dense"
    bundle.model.get_submodule(name).bias.data.normal_(0, 3)
    options = {"modules": name, "trials": 30}
    [weight] = score(bundle, TEXTS, **options).modules
    [both] = score(bundle, TEXTS, noise="gaussian,bias", **options).modules
    assert both.score > 1.2 * weight.score
