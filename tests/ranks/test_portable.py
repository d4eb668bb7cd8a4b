"""Portable adapters: the same logits in PEFT's own code, without any pattern."""

import copy
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from adarank_core import AdaRankError, RankPlan
from adarank_core.ranks.plans import ALPHA_POLICIES, alphas
from adarank_core.ranks.portable import portable
from adarank_core.scoring.models import adaptable_modules
from tests.ranks import extremes
from tests.scoring.test_partial_forward import ARCHITECTURES, batch_of, louder

WEIGHTS = "adapter_model.safetensors"


def saved(name, folder, policy="proportional", **options):
    """Save an adapter of uneven ranks with random B; return the plain model and its logits."""
    model = louder(*ARCHITECTURES[name][:2])
    modules = [module.name for module in adaptable_modules(model)]
    ranks = {module: (3 * at + 1) % 7 for at, module in enumerate(modules)}
    plan = RankPlan(name, ranks, alphas(ranks, policy), {"alpha_policy": policy})
    config = plan.lora_config("SEQ_CLS" if "Classif" in type(model).__name__ else "CAUSAL_LM")
    for key, value in options.items():
        setattr(config, key, value)
    plain = copy.deepcopy(model)
    adapted = get_peft_model(model, config).eval()
    draw = torch.Generator().manual_seed(0)
    for key, weight in adapted.named_parameters():
        if "lora_B" in key or "modules_to_save" in key:
            weight.data.normal_(0, 0.3, generator=draw)
    adapted.save_pretrained(folder)
    with torch.inference_mode():
        return plain, adapted(**batch_of([7, 5, 3])).logits


def loaded_logits(plain, folder):
    model = PeftModel.from_pretrained(copy.deepcopy(plain), folder).eval()
    with torch.inference_mode():
        return model(**batch_of([7, 5, 3])).logits


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_portable_adapter_gives_equal_logits(name, tmp_path):
    plain, expected = saved(name, tmp_path / "compact")
    compact, padded = portable(tmp_path / "compact", tmp_path / "portable")
    config = LoraConfig.from_pretrained(tmp_path / "portable")
    assert config.r == config.lora_alpha == 6
    assert not config.rank_pattern and not config.alpha_pattern and not config.use_rslora
    found = loaded_logits(plain, tmp_path / "portable")
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
    # Without the patterns, the compact one does not even load.
    assert padded > compact == (tmp_path / "compact" / WEIGHTS).stat().st_size
    assert padded == (tmp_path / "portable" / WEIGHTS).stat().st_size
    tensors = load_file(tmp_path / "portable" / WEIGHTS)
    assert {t.shape[0] for key, t in tensors.items() if "lora_A" in key} == {6}
    assert {t.shape[1] for key, t in tensors.items() if "lora_B" in key} == {6}


@pytest.mark.parametrize("policy", ALPHA_POLICIES)
@pytest.mark.parametrize("options", [{}, {"lora_bias": True}], ids=str)
def test_every_scaling_is_folded_in(policy, options, tmp_path):
    plain, expected = saved("bert", tmp_path / "compact", policy, **options)
    portable(tmp_path / "compact", tmp_path / "portable")
    found = loaded_logits(plain, tmp_path / "portable")
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_the_head_is_kept_as_it_is(tmp_path):
    saved("bert", tmp_path / "compact")
    portable(tmp_path / "compact", tmp_path / "portable")
    before, after = (load_file(tmp_path / name / WEIGHTS) for name in ("compact", "portable"))
    others = [key for key in before if ".lora_" not in key]
    assert others and before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in others)


def test_patterns_of_others_are_read_as_peft_reads_them(tmp_path):
    model = louder(*ARCHITECTURES["bert"][:2])
    plain = copy.deepcopy(model)
    config = LoraConfig(
        r=4,
        lora_alpha=12,
        target_modules=["query", "value", "dense"],
        exclude_modules=["pooler.dense"],
        rank_pattern={r"layer\.1\..*query": 2, "query": 3, "output.dense": 1},
        alpha_pattern={"value": 5, r"layer\.0\.attention.*": 20},
    )
    adapted = get_peft_model(model, config).eval()
    for key, weight in adapted.named_parameters():
        if "lora_B" in key:
            weight.data.normal_(0, 0.3)
    adapted.save_pretrained(tmp_path / "compact")
    expected = loaded_logits(plain, tmp_path / "compact")
    portable(tmp_path / "compact", tmp_path / "portable")
    found = loaded_logits(plain, tmp_path / "portable")
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def compact(tmp_path):
    saved("bert", tmp_path / "compact")
    return tmp_path / "compact"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "DoRA"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"lora_alpha": "16"}, "alpha '16'"),
        ({"lora_alpha": None}, "alpha None"),
    ],
    ids=str,
)
def test_what_is_not_plain_lora_is_refused(compact, tmp_path, change, message):
    path = compact / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(AdaRankError, match=message):
        portable(compact, tmp_path / "portable")
    assert not (tmp_path / "portable").exists()


def test_pickled_missing_and_broken_weights_are_refused(compact, tmp_path):
    with pytest.raises(AdaRankError, match="is the adapter itself"):
        portable(compact, compact / ".." / "compact")
    (compact / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(AdaRankError, match="cannot be read as safetensors"):
        portable(compact, tmp_path / "portable")
    (compact / WEIGHTS).rename(compact / "adapter_model.bin")
    with pytest.raises(AdaRankError, match="only pickled weights"):
        portable(compact, tmp_path / "portable")
    (compact / "adapter_model.bin").unlink()
    with pytest.raises(AdaRankError, match="has no adapter_model"):
        portable(compact, tmp_path / "portable")
    with pytest.raises(AdaRankError, match="cannot be read"):
        portable(tmp_path / "nowhere", tmp_path / "portable")
    assert not (tmp_path / "portable").exists()


def test_real_dora_weights_are_refused_even_if_the_file_hides_it(tmp_path):
    saved("bert", tmp_path / "compact", use_dora=True)
    path = tmp_path / "compact" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_dora": False}))
    with pytest.raises(AdaRankError, match="not plain LoRA"):
        portable(tmp_path / "compact", tmp_path / "portable")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    import safetensors.torch

    def save_file(*_, **__):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    saved("bert", tmp_path / "compact")
    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    with pytest.raises(AdaRankError, match="No space left"):
        portable(tmp_path / "compact", tmp_path / "portable")


@pytest.fixture(scope="module")
def any_adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any") / "compact"
    saved("bert", folder)
    return folder


KEYS = ["r", "lora_alpha", "alpha_pattern", "rank_pattern", "use_rslora", "peft_type"]
KEYS += ["init_lora_weights", "use_dora", "target_parameters"]


@given(
    st.dictionaries(st.sampled_from(KEYS), extremes.values, max_size=2),
    st.dictionaries(st.sampled_from(["query", "(", "nothing"]), extremes.values),
)
def test_any_number_in_an_adapter_is_padded_or_refused(any_adapter, outer, alphas):
    config = any_adapter / "adapter_config.json"
    before = config.read_text()
    try:
        config.write_text(json.dumps({**json.loads(before), "alpha_pattern": alphas, **outer}))
        sizes = extremes.result_or_refusal(portable, any_adapter, any_adapter.parent / "portable")
    finally:
        config.write_text(before)
    if sizes is not None:
        written = json.loads((any_adapter.parent / "portable" / config.name).read_text())
        assert sizes[0] < sizes[1] and written["r"] == written["lora_alpha"] == 6
