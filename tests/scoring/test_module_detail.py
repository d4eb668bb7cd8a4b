import numpy as np
import pytest
import torch

from adarank_core import load_model, score
from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.scoring.encoding import encode, logits_of
from adarank_core.scoring.heads import prepared
from adarank_core.scoring.models import adaptable_modules
from adarank_core.scoring.module_detail import by_text, noise_reach, spectrum, tokens_of
from adarank_core.scoring.noise import add_to_output, generator_for, module_noise
from adarank_core.scoring.options import ScoringOptions

NAME = "bert.encoder.layer.0.attention.self.value"
# Scoring sorts them by length.
TEXTS = Texts("mine", ("the old bird sang and the red dog ran not", "the cat", "a red dog sat"))


@pytest.fixture(scope="module")
def bundle(tiny_bert):
    return load_model(tiny_bert)


@pytest.mark.parametrize("estimator", ["fast", "paired"])
def test_texts_together_are_the_score(bundle, estimator):
    options = ScoringOptions(trials=8, estimator=estimator, seed=3)
    found = by_text(bundle, TEXTS, NAME, options)
    (scored,) = [m for m in score(bundle, TEXTS, options).modules if m.name == NAME]
    assert np.mean(found.means) == pytest.approx(scored.score, rel=1e-6)
    if estimator == "fast":  # in pairs, texts share the noise
        error = np.linalg.norm(found.errors) / 3
        assert error == pytest.approx(scored.standard_error, rel=1e-6)
    assert found.pairs.shape == (3, 28 if estimator == "fast" else 8)
    assert found.pairs.mean(axis=1) == pytest.approx(found.means, rel=0.2)


def test_every_text_has_its_own_distances(bundle):
    options = ScoringOptions(trials=2, estimator="paired")  # all texts share a trial's noise
    found = by_text(bundle, TEXTS, NAME, options)
    for at, text in enumerate(TEXTS.items):
        alone = by_text(bundle, Texts("mine", (text,)), NAME, options)
        assert alone.means[0] == pytest.approx(found.means[at], rel=1e-4)
    other = by_text(bundle, TEXTS, NAME, ScoringOptions(trials=40))
    many = by_text(bundle, TEXTS, NAME, ScoringOptions(trials=200, estimator="paired"))
    apart = np.abs(np.subtract(other.means, many.means)) / np.hypot(other.errors, many.errors)
    assert np.argmax(other.means) == np.argmax(many.means) == 0 and max(apart) < 4


def test_a_spectrum_is_the_weights_and_noise_ends_at_its_edge(bundle):
    found = spectrum(bundle, NAME)
    weight = bundle.model.get_submodule(NAME).weight.detach().double().numpy()
    assert found.values[0] == pytest.approx(np.linalg.norm(weight, 2), rel=1e-5)
    assert sum(v**2 for v in found.values) == pytest.approx((weight**2).sum(), rel=1e-5)
    # A model that was never trained is noise; the edge is that of large matrices.
    assert found.values[0] == pytest.approx(found.noise_edge, rel=0.1)
    assert found.above_noise == sum(np.array(found.values) > found.noise_edge)


@pytest.mark.parametrize("name", ["bert.encoder.layer.1.intermediate.dense", NAME])
def test_noise_reaches_what_follows_by_as_much_as_two_plain_passes_say(bundle, name):
    model, options = prepared(bundle, 0), ScoringOptions()
    layer, (batch,) = model.get_submodule(name), encode(bundle, TEXTS)
    names = [module.name for module in adaptable_modules(model)]

    def inputs():
        seen = {}
        handles = [
            model.get_submodule(one).register_forward_pre_hook(
                lambda _module, args, one=one: seen.update({one: args[0]})
            )
            for one in names
        ]
        with torch.no_grad():
            logits_of(model, batch)
        for handle in handles:
            handle.remove()
        real = batch["attention_mask"].bool()
        return {one: value[real].double() for one, value in seen.items()}

    clean, noise = inputs(), module_noise(layer, options, model.dtype)
    moved = dict.fromkeys(names, 0.0)
    for draw in range(4):
        drawn = noise.weight(
            layer.weight.shape, generator_for(0, f"{name}/reach", draw), torch.float32
        )
        with add_to_output(layer, noise.deviation * drawn):
            for one, value in inputs().items():
                moved[one] += float((value - clean[one]).square().sum()) / 4
    wanted = {one: (moved[one] / float(clean[one].square().sum())) ** 0.5 for one in names}
    found = noise_reach(bundle, TEXTS, name, options)
    assert found == pytest.approx({k: v for k, v in wanted.items() if v > 1e-4}, rel=1e-3)
    assert len(found) == (1 if "intermediate" in name else 9)


def test_noise_reaches_modules_of_a_language_model(tiny_gpt2):
    found = noise_reach(
        load_model(tiny_gpt2), TEXTS, "transformer.h.1.attn.c_attn", ScoringOptions()
    )
    assert [one.removeprefix("transformer.h.") for one in found] == [
        "1.attn.c_proj",
        "1.mlp.c_fc",
        "1.mlp.c_proj",
    ]


def test_tokens_are_those_that_the_model_gets(bundle):
    rows = tokens_of(bundle, TEXTS)
    assert rows[1] == [("[CLS]", True), ("the", False), ("cat", False), ("[SEP]", True)]
    assert len(tokens_of(bundle, TEXTS, max_length=4)[0]) == 4
    unknown = tokens_of(bundle, Texts("mine", ("the zebra",)))[0]
    assert unknown[2] == ("[UNK]", True)


@pytest.mark.parametrize("look", [by_text, noise_reach, lambda b, _t, n, _o: spectrum(b, n)])
def test_a_module_that_is_not_there_is_one_sentence(bundle, look):
    with pytest.raises(AdaRankError, match=r"no module 'bert\.pooler'"):
        look(bundle, TEXTS, "bert.pooler", ScoringOptions())


def test_what_cannot_be_looked_at_is_said(bundle, monkeypatch):
    with pytest.raises(AdaRankError, match="'paper' only"):
        by_text(bundle, TEXTS, NAME, ScoringOptions(mode="notebook"))
    monkeypatch.setattr("adarank_core.scoring.module_detail.LARGEST", 1000)
    with pytest.raises(AdaRankError, match="has 1,024 numbers"):
        spectrum(bundle, NAME)
