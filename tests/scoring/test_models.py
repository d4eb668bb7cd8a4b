"""Loading models, and the modules that LoRA can adapt."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from torch import nn
from transformers import AutoTokenizer, T5Config, T5ForSequenceClassification
from transformers.utils import logging

from adarank_core import AdaRankError, adaptable_modules, load_model, score
from adarank_core.scoring import models as models_file
from adarank_core.scoring.encoding import longest_text
from adarank_core.scoring.heads import fresh_head
from adarank_core.scoring.models import embedded_folder


def refusal(name, **options):
    with pytest.raises(AdaRankError) as caught:
        load_model(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copied(tiny_bert, tmp_path):
    return Path(shutil.copytree(tiny_bert, tmp_path / "copied"))


def edit(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


# Loading


def test_the_embedded_model_is_ready_to_score(embedded):
    assert embedded.name == "embedded" and longest_text(embedded) == 512
    assert not embedded.model.training
    assert {weight.dtype for weight in embedded.model.parameters()} == {torch.float32}


def test_a_local_folder_loads_with_its_own_weights(tiny_bert):
    from safetensors.torch import load_file

    bundle = load_model(tiny_bert, labels=3)
    assert bundle.name == tiny_bert and bundle.model.num_labels == 3
    weights = bundle.model.state_dict()
    stored = load_file(Path(tiny_bert) / "model.safetensors")
    body = [name for name in stored if name.startswith("bert.")]
    assert len(body) > 30 and all(torch.equal(weights[name], stored[name]) for name in body)


def test_a_language_model_keeps_its_head_unless_asked(tiny_gpt2):
    causal = load_model(tiny_gpt2)
    assert type(causal.model).__name__ == "GPT2LMHeadModel"
    assert fresh_head(causal, 0) == {}
    classifier = load_model(tiny_gpt2, labels=4, head="classification")
    assert type(classifier.model).__name__ == "GPT2ForSequenceClassification"
    assert classifier.model.num_labels == 4


def test_pickled_weights_are_never_loaded(copied):
    state = load_model(copied).model.state_dict()
    (copied / "model.safetensors").unlink()
    torch.save(state, copied / "pytorch_model.bin")
    assert "no safetensors weights" in refusal(copied)


def test_code_that_comes_with_a_model_is_never_run(copied, tmp_path, monkeypatch):
    trap = tmp_path / "was_run"
    (copied / "trap.py").write_text(f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n")
    edit(copied, auto_map={"AutoConfig": "trap.Config"}, model_type="trap")
    asked = []
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
    assert "cannot be loaded" in refusal(copied)
    assert not asked and not trap.exists()


def test_other_embedded_weights_are_refused(monkeypatch):
    monkeypatch.setattr(models_file, "EMBEDDED_SHA256", "0" * 64)
    assert "53aa51172d14" in refusal("embedded") and "reinstall" in refusal("embedded")


def test_a_missing_wheel_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AdaRankError, match="pip install"):
        embedded_folder()


@pytest.mark.parametrize("name", ["", "  ", "no/such", "a b", "../x", "a\0b", "x" * 500])
def test_unknown_models_are_refused_without_network(name):
    assert repr(name)[:50] in refusal(name) or not name.strip()


def test_bad_options_are_refused():
    assert "labels is 1" in refusal("embedded", labels=1)
    assert "head is 'tail'" in refusal("embedded", head="tail")


def test_broken_configurations_are_refused(copied):
    whole = (copied / "config.json").read_text()
    for content in ("{nope", "[]", "", '{"model_type": "zork"}'):
        (copied / "config.json").write_text(content)
        assert "cannot be loaded" in refusal(copied)
    for values in ({"num_attention_heads": 0}, {"hidden_size": "x"}, {"architectures": [3]}):
        (copied / "config.json").write_text(whole)
        edit(copied, **values)
        assert "cannot be loaded" in refusal(copied)


def test_broken_weights_are_refused(copied):
    whole = (copied / "model.safetensors").read_bytes()
    for content in (b"", b"garbage" * 99, whole[:-100]):
        (copied / "model.safetensors").write_bytes(content)
        assert "cannot be loaded" in refusal(copied)


def test_weights_of_another_shape_are_not_replaced_by_random_ones(copied):
    edit(copied, hidden_size=48)
    assert "cannot be loaded" in refusal(copied)


def test_weights_that_are_missing_are_not_replaced_by_random_ones(copied):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    weights = {name: w for name, w in weights.items() if "layer.1.attention" not in name}
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    assert "cannot be loaded" in refusal(copied)


def test_a_decoder_without_a_start_is_refused(tiny_bert, tmp_path):
    config = T5Config(vocab_size=24, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    config.decoder_start_token_id, config.eos_token_id = 0, 3
    T5ForSequenceClassification(config).save_pretrained(tmp_path)
    load_model(tiny_bert).tokenizer.save_pretrained(tmp_path)
    assert type(load_model(tmp_path).model).__name__ == "T5ForSequenceClassification"
    edit(tmp_path, decoder_start_token_id=None)
    told = refusal(tmp_path)
    assert f"the configuration of {str(tmp_path)!r} has no decoder_start_token_id" in told


# The process that loads


@pytest.fixture
def process_state():
    """Return a reader of what loading sets for a moment; the test may leave it otherwise."""

    def state():
        return (
            logging.get_verbosity(),
            logging.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            torch.get_rng_state().tolist(),
        )

    verbosity, bars, hub_hidden, _ = state()
    yield state
    logging.set_verbosity(verbosity)
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    (disable_progress_bars if hub_hidden else enable_progress_bars)()


@pytest.mark.parametrize("hub_bars", [True, False])
@pytest.mark.parametrize("bars", [True, False])
def test_loading_leaves_the_process_as_it_was(tiny_bert, copied, process_state, bars, hub_bars):
    logging.set_verbosity_info()
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    (enable_progress_bars if hub_bars else disable_progress_bars)()
    before = process_state()
    assert before[:3] == (logging.INFO, bars, not hub_bars)
    load_model(tiny_bert)
    assert process_state() == before
    (copied / "model.safetensors").write_bytes(b"garbage")
    refusal(copied)
    assert process_state() == before


def test_two_threads_that_load_at_once_leave_the_process_as_it_was(
    tiny_bert, process_state, monkeypatch
):
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    before, seen, real = process_state(), [], AutoTokenizer.from_pretrained
    start, at_work = threading.Barrier(2), []

    def slow(*args, **options):
        at_work.append(1)
        seen.append((len(at_work), logging.get_verbosity(), logging.is_progress_bar_enabled()))
        time.sleep(0.3)  # long enough for the other thread to come by
        at_work.pop()
        return real(*args, **options)

    def work():
        start.wait()
        load_model(tiny_bert)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", slow)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(1, logging.ERROR, False)] * 2
    assert process_state() == before


def test_a_pooler_that_the_checkpoint_lacks_is_the_same_every_time(copied):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    weights = {name: w for name, w in weights.items() if ".pooler." not in name}
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(load_model(copied).model.bert.pooler.dense.weight)
    assert torch.equal(*found) and found[0].std() > 0


# Modules


def test_the_six_families_of_a_bert_in_the_order_of_the_data(embedded):
    modules = adaptable_modules(embedded.model)
    families = ("query", "key", "value", "attention.output", "intermediate", "output")
    assert [module.family for module in modules] == list(families) * 6
    assert [module.layer for module in modules] == [layer for layer in range(6) for _ in families]
    for module in modules:
        weight = embedded.model.get_submodule(module.name).weight
        assert (module.out_features, module.in_features) == tuple(weight.shape)
    assert {module.in_features for module in modules if module.family == "output"} == {1536}


def test_conv1d_counts_its_inputs_first(tiny_gpt2):
    modules = {m.name: m for m in adaptable_modules(load_model(tiny_gpt2).model)}
    fused = modules["transformer.h.0.attn.c_attn"]
    assert (fused.in_features, fused.out_features) == (32, 96)
    assert {m.family for m in modules.values()} == {
        "c_attn",
        "attn.c_proj",
        "c_fc",
        "mlp.c_proj",
    }


def test_a_model_without_blocks_is_refused():
    with pytest.raises(AdaRankError, match="Sequential has no linear modules"):
        adaptable_modules(torch.nn.Sequential(torch.nn.Linear(2, 2)))


class Linear4bit(nn.Linear):
    """As bitsandbytes has it: two weights a byte, in one column."""

    def __init__(self, inner):
        super().__init__(inner.in_features, inner.out_features)
        packed = torch.zeros(inner.weight.numel() // 2, 1, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)


class Linear8bitLt(nn.Linear):
    """As bitsandbytes has it: the weight's shape, but whole numbers."""

    def __init__(self, inner):
        super().__init__(inner.in_features, inner.out_features)
        self.weight = nn.Parameter(inner.weight.detach().to(torch.int8), requires_grad=False)


class PackedFloats(nn.Linear):
    """Another way to keep bytes: within floating-point numbers."""

    def __init__(self, inner):
        super().__init__(inner.in_features, inner.out_features)
        self.weight = nn.Parameter(torch.ones(inner.weight.numel() // 8, 1))


class FP8Linear(nn.Linear):
    """As transformers has it: 8-bit numbers whose scale stands beside them."""

    def __init__(self, inner):
        super().__init__(inner.in_features, inner.out_features)
        weight = inner.weight.detach().to(torch.float8_e4m3fn)
        self.weight = nn.Parameter(weight, requires_grad=False)


@pytest.mark.parametrize("kind", [Linear4bit, Linear8bitLt, PackedFloats, FP8Linear])
def test_a_quantised_module_is_refused_by_name(tiny_bert, kind):
    bundle = load_model(tiny_bert)
    attention = bundle.model.bert.encoder.layer[1].attention.self
    attention.key = kind(attention.key)
    for function in (lambda: adaptable_modules(bundle.model), lambda: score(bundle, ["the cat"])):
        with pytest.raises(AdaRankError) as caught:
            function()
        told = str(caught.value)
        assert "'bert.encoder.layer.1.attention.self.key'" in told and "\n" not in told
        assert (
            f"a quantised {kind.__name__}, which holds a weight of" in told
            and "without quantisation" in told
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_in_other_precisions_are_listed(tiny_bert, tiny_gpt2, dtype):
    for folder in (tiny_bert, tiny_gpt2):
        model = load_model(folder).model
        assert adaptable_modules(model.to(dtype)) == adaptable_modules(model.float())


class Router(nn.Linear):
    """As PhiMoE's: it gives the chosen experts, too."""

    def forward(self, inputs):
        return super().forward(inputs), inputs.argmax(dim=-1)


class Plain(nn.Linear):
    """As Falcon's: a forward of its own, which gives what a linear module gives."""

    def forward(self, inputs):
        return inputs @ self.weight.T


def test_a_linear_module_that_gives_more_than_a_tensor_is_not_listed(tiny_bert):
    model = load_model(tiny_bert).model
    layer = model.bert.encoder.layer[0]
    before = [module.name for module in adaptable_modules(model)]
    layer.router, layer.own = Router(32, 4), Plain(32, 4)
    added = {module.name for module in adaptable_modules(model)} - set(before)
    assert added == {"bert.encoder.layer.0.own"}
