"""The published notebook's scores, against a plain loop that writes the weights."""

import copy

import numpy as np
import pytest
import torch

from adarank_core import AdaRankError, load_model, score, score_iter
from adarank_core.data.texts import as_texts
from adarank_core.scoring.encoding import encode
from adarank_core.scoring.error_bars import mean_and_error
from adarank_core.scoring.models import ModelBundle
from adarank_core.scoring.noise import generator_for, weight_noise

TRIALS, SCALE, SEED = 3, 0.7, 5
SCANS = ("forward", "reversed")


@pytest.fixture(scope="module")
def bundle(tiny_bert):
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = load_model(tiny_bert).tokenizer
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        initializer_range=0.15,
    )
    return ModelBundle(BertForSequenceClassification(config).eval(), tokenizer, "tiny")


def plain_loop(bundle, texts, family, accumulate, backward=False):
    """Score one family as the notebook does, layer after layer, weights overwritten."""
    model, batches = copy.deepcopy(bundle.model).eval(), encode(bundle, as_texts(texts))

    def pooled():
        return torch.cat([model.bert(**batch).pooler_output for batch in batches]).double()

    names = [name for name, _ in model.named_modules() if name.endswith(f".{family}")]
    scores = {}
    with torch.no_grad():
        clean = pooled()
        for name in names[::-1] if backward else names:
            weight, distances = model.get_submodule(name).weight, []
            original = weight.clone()
            for trial in range(TRIALS):
                weight += weight_noise(original, SCALE, generator_for(SEED, name, trial))
                distances.append((pooled() - clean).abs().mean(dim=1).numpy())
                if not accumulate:
                    weight.copy_(original)
            scores[name] = mean_and_error(np.stack(distances))
    return [scores[name] for name in names]


def notebook_scores(bundle, texts, mode, scan="forward", modules="value"):
    options = {"mode": mode, "scan": scan, "modules": modules}
    return score(bundle, texts, trials=TRIALS, noise_scale=SCALE, seed=SEED, **options)


def numbers(scores):
    return [(module.score, module.standard_error) for module in scores.modules]


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("mode", ["notebook", "notebook-accumulating"])
def test_scores_are_those_of_the_plain_loop(bundle, texts, mode, scan):
    found = notebook_scores(bundle, texts, mode, scan)
    wanted = plain_loop(bundle, texts, "value", mode == "notebook-accumulating", scan == "reversed")
    np.testing.assert_allclose(numbers(found), wanted, rtol=1e-5)
    assert [module.layer for module in found.modules] == [0, 1, 2]
    assert (found.mode, found.estimator, found.trials) == (mode, "paired", TRIALS)


def test_order_matters_where_noise_accumulates_only(bundle, texts):
    reset = [numbers(notebook_scores(bundle, texts, "notebook", scan)) for scan in SCANS]
    kept = [
        numbers(notebook_scores(bundle, texts, "notebook-accumulating", scan)) for scan in SCANS
    ]
    assert reset[0] == reset[1]
    forward, backward = ([value for value, _ in one] for one in kept)
    assert forward[-1] > 1.5 * backward[-1] and backward[0] > 1.5 * forward[0]


def test_noise_accumulates_within_a_family_only(bundle, texts):
    """A second family starts from clean weights."""
    both = notebook_scores(bundle, texts, "notebook-accumulating", modules="query|value")
    for family in ("query", "value"):
        found = [m for m in both.modules if m.family == family]
        wanted = plain_loop(bundle, texts, family, accumulate=True)
        np.testing.assert_allclose([(m.score, m.standard_error) for m in found], wanted, rtol=1e-5)
    assert [m.name for m in both.modules] == [
        f"bert.encoder.layer.{layer}.attention.self.{family}"
        for layer in range(3)
        for family in ("query", "value")
    ]


def test_progress_counts_modules(bundle, texts):
    steps = list(score_iter(bundle, texts, mode="notebook", trials=2, modules="query|value"))
    assert [(step.done, step.total) for step in steps] == [(n, 6) for n in range(1, 7)]
    assert [len(step.scores.modules) for step in steps] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("mode", ["notebook", "notebook-accumulating"])
def test_the_weights_are_never_written(bundle, texts, mode):
    model = bundle.model
    before = {path: value.clone() for path, value in model.state_dict().items()}

    def untouched():
        same = all(torch.equal(model.state_dict()[path], value) for path, value in before.items())
        return same and not any(module._forward_hooks for module in model.modules())

    notebook_scores(bundle, texts, mode)
    assert untouched()
    steps = score_iter(bundle, texts, mode=mode, trials=2)
    next(steps)
    steps.close()
    assert untouched()
    with pytest.raises(AdaRankError, match="not finite"):
        score(bundle, texts, mode=mode, trials=2, noise_scale=1e300)
    assert untouched()


@pytest.mark.parametrize("mode", ["notebook", "notebook-accumulating"])
def test_a_model_without_pooler_is_refused(tiny_gpt2, mode):
    with pytest.raises(AdaRankError) as caught:
        score_iter(load_model(tiny_gpt2), ["the cat"], mode=mode, trials=2)
    assert "has no pooler" in str(caught.value) and repr(mode) in str(caught.value)
    assert "\n" not in str(caught.value)
