"""Algorithm 2: against plain loops and formulas, and what it leaves behind."""

import copy
import math
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from torch import nn

from adarank_core import AdaRankError, Scores, allocate, load_model, score, score_iter, sentence
from adarank_core.scoring import estimators as estimators_file
from adarank_core.scoring.encoding import BATCH_SIZE
from adarank_core.scoring.error_bars import mean_and_error
from adarank_core.scoring.models import adaptable_modules
from adarank_core.scoring.noise import generator_for, weight_noise
from tests.scoring.closed_form import small_noise_scores, with_head

ESTIMATORS = ("paired", "fast")
MINILM = (
    "bert.encoder.layer.0.attention.self.value",
    "bert.encoder.layer.2.intermediate.dense",
    "bert.encoder.layer.5.output.dense",
)


@pytest.fixture(params=["tiny_bert", "tiny_gpt2"])
def tiny(request):
    return load_model(request.getfixturevalue(request.param))


def refusal(*arguments, **options):
    with pytest.raises(AdaRankError) as caught:
        score_iter(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain_distances(bundle, texts, name, trials, seed, noise_scale=1.0):
    """Algorithm 2 as it is written: noise into the weight, every text alone, no padding."""
    model = with_head(bundle, seed)
    weight = model.get_submodule(name).weight
    kept, logits = weight.detach().clone(), []
    with torch.no_grad():
        for instance in range(2 * trials):
            noise = weight_noise(kept, noise_scale, generator_for(seed, name, instance))
            weight.copy_(kept + noise)
            tokens = [bundle.tokenizer(text, return_tensors="pt") for text in texts]
            found = [model(ids["input_ids"]).logits for ids in tokens]
            logits.append(torch.cat([one if one.dim() == 2 else one[:, -1] for one in found]))
    pairs = zip(logits[::2], logits[1::2], strict=True)
    return torch.stack([(one - other).abs().sum(dim=1) for one, other in pairs]).numpy()


def named(scores):
    return {module.name: module.score for module in scores.modules}


# The number itself


def test_a_tiny_model_s_scores_are_those_of_a_plain_loop(tiny, texts):
    assert len(texts) > BATCH_SIZE
    options = {"noise_scale": 0.7, "estimator": "paired", "head_draw": "seed", "logits": "last"}
    scores = score(tiny, texts, trials=3, seed=5, **options)
    assert len(scores.modules) == (12 if "bert" in tiny.name else 8)
    for module in scores.modules:
        distances = plain_distances(tiny, texts, module.name, 3, 5, 0.7)
        assert module.score == pytest.approx(distances.mean(), rel=1e-5)
        assert module.standard_error == pytest.approx(mean_and_error(distances)[1], rel=1e-3)


@pytest.mark.parametrize("name", MINILM)
def test_minilm_s_scores_are_those_of_a_plain_loop(embedded, name):
    texts = ["What is a rank?", "A much longer sentence about rivers, boats and old bridges."] * 9
    options = {"modules": re.escape(name), "estimator": "paired", "head_draw": "seed"}
    scores = score(embedded, texts, trials=2, seed=1, **options)
    distances = plain_distances(embedded, texts[:2], name, 2, 1)
    assert named(scores) == {name: pytest.approx(distances.mean(), abs=1e-5)}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_small_noise_gives_the_gradients_norm(tiny, estimator):
    """For noise towards 0, d = 2 / sqrt(pi) * scale * std(W) * mean of sum of |dlogit / dW|."""
    texts = ["the cat sat on the old red dog", "rain", "good dog good dog"]
    scale, trials = 1e-3, {"paired": 100, "fast": 60}[estimator]
    options = {"trials": trials, "noise_scale": scale, "estimator": estimator, "seed": 3}
    options |= {"head_draw": "seed", "logits": "last"}
    tiny = type(tiny)(tiny.model.double(), tiny.tokenizer, tiny.name)
    scores = score(tiny, texts, modules=r"\.1\.", **options)
    names = [module.name for module in adaptable_modules(tiny.model)]
    limit = dict(zip(names, scale * small_noise_scores(tiny, texts, seed=3), strict=True))
    within = [module.score / limit[module.name] - 1 for module in scores.modules]
    assert np.abs(within).max() < 0.15
    assert abs(np.mean(within)) < 0.05


def test_both_estimators_estimate_the_same(bert, texts):
    options = {"modules": r"value|layer\.1\.output", "seed": 0}
    paired = score(bert, texts, trials=60, estimator="paired", **options)
    fast = score(bert, texts, trials=12, estimator="fast", **options)
    for one, other in zip(paired.modules, fast.modules, strict=True):
        assert one.score == pytest.approx(other.score, rel=0.15)
        # The texts are the same, so their share of both errors makes this bound generous.
        error = math.hypot(one.standard_error, other.standard_error)
        assert abs(one.score - other.score) < 3 * error


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_repeated_texts_change_no_expectation_and_no_batch_is_lost(bert, estimator):
    options = {"trials": 30, "estimator": estimator, "modules": r"layer\.1\.output"}
    one = score(bert, ["the cat sat"], **options).modules[0]
    many = score(bert, ["the cat sat"] * 33, **options).modules[0]
    assert many.score == pytest.approx(one.score, abs=4 * one.standard_error)


# What does not matter


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_seed_gives_the_same_scores_again(bert, texts, estimator):
    first, again, other = (
        score(bert, texts, trials=2, seed=seed, estimator=estimator) for seed in (0, 0, 1)
    )
    assert first == again
    assert all(named(first)[name] != value for name, value in named(other).items())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_score_does_not_depend_on_what_else_is_scored(bert, texts, estimator):
    everything = score(bert, texts, trials=2, estimator=estimator)
    for pattern in (r"layer\.1\.", r"value", r"0\.output\.dense$"):
        some = score(bert, texts, trials=2, estimator=estimator, modules=pattern)
        assert 0 < len(some.modules) < 12
        assert named(some).keys() <= named(everything).keys()
        # Modules of a block share a matrix product, and some processors round by its shape.
        same = {name: named(everything)[name] for name in named(some)}
        assert named(some) == pytest.approx(same, rel=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scoring_halves_of_the_modules_changes_no_bit(tiny, texts, estimator):
    everything = score(tiny, texts, trials=2, estimator=estimator).modules
    halves = [
        score(
            tiny,
            texts,
            trials=2,
            estimator=estimator,
            modules="^(" + "|".join(re.escape(m.name) for m in everything[start::2]) + ")$",
        ).modules
        for start in (0, 1)
    ]
    assert everything[::2] == halves[0] and everything[1::2] == halves[1]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_dropout_is_off_and_training_mode_is_kept(bert, texts, estimator):
    expected = score(bert, texts, trials=2, estimator=estimator)
    bert.model.train()
    bert.model.bert.encoder.layer[1].eval()
    flags = {name: module.training for name, module in bert.model.named_modules()}
    assert score(bert, texts, trials=2, estimator=estimator) == expected
    assert {name: module.training for name, module in bert.model.named_modules()} == flags


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_sessions_that_share_a_model_do_not_disturb_each_other(bert, texts, estimator):
    def scored(seed):
        return score(bert, texts, trials=3, seed=seed, estimator=estimator)

    alone, together, start = {s: scored(s) for s in range(2)}, {}, threading.Barrier(2)

    def work(seed):
        start.wait()
        together[seed] = scored(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


# What is left behind


def state_of(model):
    hooks = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )
    own = [name for name, module in model.named_modules() if "forward" in vars(module)]
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    return hooks, own, weights, [weight.requires_grad for weight in model.parameters()]


def assert_untouched(model, before):
    hooks, own, weights, gradients = state_of(model)
    assert (hooks, own, gradients) == (0, [], before[3])
    assert weights.keys() == before[2].keys()
    assert all(torch.equal(weight, before[2][name]) for name, weight in weights.items())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_model_is_as_it_was_after_success(tiny, texts, estimator):
    before = state_of(tiny.model)
    score(tiny, texts, trials=2, estimator=estimator)
    assert_untouched(tiny.model, before)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_model_is_as_it_was_after_the_generator_is_closed(bert, texts, estimator):
    before = state_of(bert.model)
    steps = score_iter(bert, texts, trials=2, estimator=estimator)
    next(steps), next(steps)
    assert_untouched(bert.model, before)
    steps.close()
    assert_untouched(bert.model, before)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_model_is_as_it_was_after_an_exception(bert, texts, estimator, monkeypatch):
    before, calls, real = state_of(bert.model), [], estimators_file.logits_of

    def breaks(model, batch):
        calls.append(1)
        if len(calls) == 6:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, batch)

    monkeypatch.setattr(estimators_file, "logits_of", breaks)
    with pytest.raises(AdaRankError, match=r"memory ran out .*; give fewer trials than 3"):
        score(bert, texts, trials=3, estimator=estimator)
    assert_untouched(bert.model, before)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    monkeypatch.undo()
    assert len(score(bert, texts, trials=2, estimator=estimator).modules) == 12


@pytest.mark.parametrize("head", ["causal", "classification"])
@pytest.mark.parametrize("options", [{}, {"estimator": "paired"}, {"tolerance": 3.0}], ids=str)
def test_nothing_is_drawn_from_the_global_generator(tiny_gpt2, texts, options, head):
    bundle = load_model(tiny_gpt2, head=head)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = score(bundle, texts[:5], modules=r"h\.1", **options)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert score(bundle, texts[:5], modules=r"h\.1", **options) == first


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_model_with_hooks_of_accelerate_is_scored_the_same_and_keeps_them(bert, texts, estimator):
    expected = score(bert, texts, trials=2, estimator=estimator)
    for module in list(bert.model.modules()):
        add_hook_to_module(module, ModelHook())
    before = {name: vars(module).copy() for name, module in bert.model.named_modules()}
    for _ in range(2):
        assert score(bert, texts, trials=2, estimator=estimator) == expected
    for name, module in bert.model.named_modules():
        assert vars(module).keys() == before[name].keys()
        assert all(vars(module)[key] is value for key, value in before[name].items())
    remove_hook_from_module(bert.model, recurse=True)
    assert score(bert, texts, trials=2, estimator=estimator) == expected


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_progress_ends_at_the_total_with_all_modules(bert, texts, estimator):
    steps = list(score_iter(bert, texts, trials=2, estimator=estimator))
    assert [step.done for step in steps] == list(range(1, steps[-1].total + 1))
    assert len(steps[-1].scores.modules) == 12
    assert [len(step.scores.modules) for step in steps] == sorted(
        len(step.scores.modules) for step in steps
    )


def test_where_scores_come_from_is_written_down(bert):
    texts = sentence("the cat sat")
    scores = score(bert, texts, trials=2, seed=4, noise_scale=0.5)
    assert (scores.model, scores.mode, scores.seed) == (bert.name, "paper", 4)
    assert scores.noise_scale == 0.5
    assert scores.texts == {"source": "sentence", "count": 1, "sha256": texts.sha256}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("trained", [False, True])
def test_the_standard_error_is_how_far_seeds_lie_apart(bert, estimator, trained):
    """With a trained head the linear response serves as a control."""
    if trained:
        bert = replace(bert, model=with_head(bert, 0), random=frozenset())
    options = {"trials": 6, "estimator": estimator, "modules": "value"}
    draws = [score(bert, ["the cat sat on"], seed=seed, **options) for seed in range(60)]
    for at in range(2):
        found = np.std([scores.modules[at].score for scores in draws], ddof=1)
        told = np.mean([scores.modules[at].standard_error for scores in draws])
        assert 0.7 < told / found < 1.4


# What cannot be done


def test_bad_options_are_refused_at_once(bert):
    assert "estimator is 'x'" in refusal(bert, ["a"], estimator="x")
    assert "mode is 'x'" in refusal(bert, ["a"], mode="x")
    for trials in (-1, 0, 1):
        assert f"trials is {trials}" in refusal(bert, ["a"], trials=trials)
    for scale in (0, -1, math.nan, math.inf):
        assert "noise_scale is" in refusal(bert, ["a"], noise_scale=scale)
    for seed in (2**63, -(2**63) - 1, 10**40):
        assert "64 bits" in refusal(bert, ["a"], seed=seed)
    for length in (0, -5):
        assert f"max_length is {length}" in refusal(bert, ["a"], max_length=length)
    assert "modules is 'zork', which matches none of the 12" in refusal(bert, ["a"], modules="zork")
    for pattern in ("(", "a{99999999999999}", "*"):
        assert "not a regular expression" in refusal(bert, ["a"], modules=pattern)
    assert "logits is 'first'; it must be 'last' or 'all'" in refusal(bert, ["a"], logits="first")
    assert "has a classification head" in refusal(bert, ["a"], logits="all")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_module_that_no_logit_depends_on_scores_zero_and_gets_ranks(bert, texts, estimator):
    """One before a weight of zeros, that weight (noise is relative to it), one nobody runs."""
    block = bert.model.bert.encoder.layer[0]
    block.output.dense.weight.data.zero_()
    block.spare = nn.Linear(32, 32)
    silent = [f"bert.encoder.layer.0.{n}" for n in ("intermediate.dense", "output.dense", "spare")]
    scores = score(bert, texts, trials=2, estimator=estimator)
    found = {module.name: (module.score, module.standard_error) for module in scores.modules}
    assert [name for name, both in found.items() if both == (0, 0)] == silent
    assert all(value > 0 for name, (value, _) in found.items() if name not in silent)
    ranks = allocate(scores, average_rank=8).ranks
    assert [ranks[name] for name in silent] == [1, 1, 1] and sum(ranks.values()) == 8 * 13
    none = score(bert, texts, trials=2, estimator=estimator, modules="spare")
    assert allocate(none, average_rank=8).ranks == {silent[2]: 8}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_weight_that_is_read_without_a_call_is_refused(bert, texts, estimator, monkeypatch):
    """As Mamba's dt_proj: noise and LoRA act on a module's output, which there is not."""
    block = bert.model.bert.encoder.layer[0]
    block.reader, whole = nn.Linear(32, 32), type(block).forward

    def forward(self, *args, **options):
        output = whole(self, *args, **options)
        return output @ self.reader.weight if hasattr(self, "reader") else output

    monkeypatch.setattr(type(block), "forward", forward)
    own = block.reader.weight.clone()
    with pytest.raises(AdaRankError, match=r"'bert.encoder.layer.0.reader' without calling") as no:
        score(bert, texts, trials=2, estimator=estimator, modules="reader|query")
    assert torch.equal(block.reader.weight, own)
    [pattern] = re.findall(r"--modules '(.*)'", str(no.value))
    names = [m.name for m in score(bert, texts, trials=2, modules=pattern).modules]
    assert len(names) == 12 and not any(name.endswith("reader") for name in names)


@pytest.mark.parametrize("breaks", ["raises", "gives nan"])
def test_bfloat16_that_a_model_does_not_run_in_is_not_taken(bert, texts, monkeypatch, breaks):
    monkeypatch.setattr("adarank_core.scoring.options.bf16_is_native", lambda _device: True)
    classifier = bert.model.bert.pooler.dense

    def only_float32(_module, _args, output):
        if output.dtype == torch.bfloat16 and breaks == "raises":
            raise RuntimeError("Index put requires the source and destination dtypes match")
        return output * torch.nan if output.dtype == torch.bfloat16 else output

    classifier.register_forward_hook(only_float32)
    found, wanted = (score(bert, texts, trials=2, precision=p) for p in ("auto", "float32"))
    assert found == wanted
    with pytest.raises((RuntimeError, AdaRankError)):
        score(bert, texts, trials=2, precision="bfloat16")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_overflow_in_half_precision_is_told(bert, estimator):
    bert.model.half()
    assert score(bert, ["the cat"], trials=2, estimator=estimator).modules[0].score > 0
    with pytest.raises(AdaRankError, match="not finite"):
        score(bert, ["the cat"], trials=2, estimator=estimator, noise_scale=1e6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_broken_weights_are_told(bert, estimator):
    bert.model.bert.encoder.layer[1].output.dense.weight.data[0, 0] = math.nan
    with pytest.raises(AdaRankError, match="not finite"):
        score(bert, ["the cat"], trials=2, estimator=estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_tokens_count_alike_and_padding_never(tiny_gpt2, estimator):
    """With noise as small as can be a clean pair of models is compared by hand."""
    bundle, name = load_model(tiny_gpt2), "transformer.h.1.mlp.c_proj"
    texts = ["the cat sat on the red dog", "cat", "a bird sang"]
    options = {"modules": re.escape(name), "estimator": estimator, "logits": "all"}
    found = score(bundle, texts, trials=40, **options).modules[0]
    model = copy.deepcopy(bundle.model)
    weight, distances = model.get_submodule(name).weight, []
    clean = weight.detach().clone()
    with torch.no_grad():
        for pair in range(40):
            logits = []
            for instance in (2 * pair, 2 * pair + 1):
                noise = weight_noise(clean, 1.0, generator_for(0, name, instance))
                weight.copy_(clean + noise)
                tokens = [bundle.tokenizer(text, return_tensors="pt") for text in texts]
                logits.append([model(ids["input_ids"]).logits[0] for ids in tokens])
            distances.append(
                [
                    (one - other).abs().sum(dim=1).mean().item()
                    for one, other in zip(*logits, strict=True)
                ]
            )
    mean, error = mean_and_error(np.array(distances))
    if estimator == "paired":  # the same noise
        assert (found.score, found.standard_error) == pytest.approx((mean, error), rel=1e-4)
    assert found.score == pytest.approx(mean, rel=0.1)
    assert "logits" not in vars(bundle.model) and not bundle.model._forward_hooks


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_tokens_of_more_than_one_batch(tiny_gpt2, texts, estimator):
    """Batches of unlike length: the score is the mean of those that texts get alone."""
    bundle, options = load_model(tiny_gpt2), {"estimator": estimator, "logits": "all"}
    assert len(texts) > BATCH_SIZE
    options |= {"trials": 60, "modules": "h.1.mlp.c_proj"}
    together = score(bundle, texts, **options)
    alone = [score(bundle, [text], **options).modules[0].score for text in texts]
    assert together.modules[0].score == pytest.approx(np.mean(alone), rel=0.05)
    assert (
        together.to_dict()["logits"] == "all" and Scores.from_dict(together.to_dict()) == together
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_single_token_is_the_last_and_all(tiny_gpt2, estimator):
    bundle, options = load_model(tiny_gpt2), {"trials": 3, "estimator": estimator}
    last, every = (score(bundle, ["cat"], logits=logits, **options) for logits in ("last", "all"))
    assert named(every) == pytest.approx(named(last), rel=1e-5)
    longer = [
        score(bundle, ["the red cat"], logits=logits, **options) for logits in ("last", "all")
    ]
    assert named(longer[0]) != pytest.approx(named(longer[1]), rel=1e-2)
