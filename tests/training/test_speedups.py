"""The lean forward pass against PEFT's own, and what it must leave alone."""

import math

import pytest
import torch
import transformers
from accelerate.hooks import ModelHook, add_hook_to_module
from peft import LoraConfig, get_peft_model

from adarank_core.comparison.planner import same_rank
from adarank_core.scoring.models import load_model
from adarank_core.scoring.token_use import first_token_modules
from adarank_core.training import finetuning, speedups
from adarank_core.training.adapters import adapted
from adarank_core.training.settings import Settings
from adarank_core.training.speedups import learns_in_bfloat16, make_lean
from tests.scoring.test_token_use import READ_AT_FIRST

TEXTS = ["the red cat sat on the old dog", "a bird sang", "rain"]


def adapted_model(folder, *, lean, ranks=3, method="lora"):
    """Return a classifier with LoRA whose B is not 0, and its tokens."""
    bundle = load_model(folder, labels=3, head="classification")
    names = first_token_modules(bundle)
    model = adapted(bundle, same_rank(folder, ranks), method=method, seed=1, steps=10)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=draw))
    if lean:
        make_lean(bundle.model, names)
    return model, bundle.tokenizer(TEXTS, padding=True, return_tensors="pt")


def loss_and_gradients(model, tokens):
    torch.manual_seed(0)  # dropout
    loss = model(**tokens, labels=torch.tensor([0, 2, 1])).loss
    loss.backward()
    return loss, {n: w.grad for n, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("method", ["lora", "adalora", "head-only", "full"])
def test_loss_and_gradients_are_those_of_peft_dropout_included(tiny_bert, method):
    found = []
    for lean in (False, True):
        model, tokens = adapted_model(tiny_bert, lean=lean, method=method)
        found.append(loss_and_gradients(model.train(), tokens))
    (plain_loss, plain), (loss, ours) = found
    torch.testing.assert_close(loss, plain_loss)
    assert plain.keys() == ours.keys() and any(grad.any() for grad in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)


def test_in_bfloat16_ranks_are_filled_up_and_the_numbers_stay(tiny_bert, monkeypatch):
    found, inner = [], []
    real = torch.addmm
    monkeypatch.setattr(
        torch, "addmm", lambda base, down, up: inner.append(down.shape[1]) or real(base, down, up)
    )
    for lean, step in ((False, 1), (True, 1), (True, 8)):
        monkeypatch.setattr(speedups, "RANK_STEP", step)
        model, tokens = adapted_model(tiny_bert, lean=lean)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(loss_and_gradients(model.train(), tokens))
    assert set(inner) == {3, 8} and inner.count(3) == inner.count(8)
    (peft_loss, peft), (loss, exact), (padded_loss, padded) = found
    torch.testing.assert_close(padded_loss, loss)
    torch.testing.assert_close(loss, peft_loss, rtol=2e-2, atol=0)
    for name, gradient in exact.items():
        torch.testing.assert_close(padded[name], gradient, rtol=1e-2, atol=1e-4)
        assert padded[name].shape == peft[name].shape


def test_lora_and_the_first_token_save_work_together(tiny_bert, monkeypatch):
    model, tokens = adapted_model(tiny_bert, lean=True)
    sizes, products = {}, []

    def keep(name):
        return lambda _module, args, _output: sizes.update({name: args[0].shape[:2]})

    for name, module in model.base_model.model.named_modules():
        if name.endswith(".base_layer"):
            module.register_forward_hook(keep(name.removesuffix(".base_layer")))
    real = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *args: products.append(args) or real(*args))
    model(**tokens)
    texts, length = tokens["input_ids"].shape
    assert len(sizes) == len(products) == 12
    for name, size in sizes.items():
        assert size == (texts, 1 if name in READ_AT_FIRST else length), name


def test_lora_with_dropout_keeps_peft_s_own_way(tiny_bert):
    bundle = load_model(tiny_bert, head="classification")
    config = LoraConfig(r=2, target_modules=["query"], lora_dropout=0.1)
    model = get_peft_model(bundle.model, config)
    make_lean(bundle.model, ())
    assert not any("forward" in vars(module) for module in model.modules())


# In bfloat16


@pytest.fixture(params=["Xmod", "Deberta"])
def float32_alone(request, tiny_bert, tmp_path):
    """A folder with a model that raises where its products are in bfloat16."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "vocab_size": 24, "pad_token_id": 0}
    sizes |= {"languages": ["en_XX"], "default_language": "en_XX"}  # X-MOD's
    model_class = getattr(transformers, f"{request.param}ForSequenceClassification")
    torch.manual_seed(0)
    model_class(model_class.config_class(**sizes)).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_model_that_bfloat16_breaks_is_trained_in_float32(float32_alone, tiny_task, monkeypatch):
    assert not learns_in_bfloat16(load_model(float32_alone))
    losses = []
    for native in (False, True):
        monkeypatch.setattr(finetuning, "bf16_is_native", lambda _device, native=native: native)
        plan, settings = same_rank(float32_alone, 2), Settings(2, 8)
        losses.append(finetuning.finetune(float32_alone, tiny_task, plan, settings)["test_loss"])
    assert losses[0] == losses[1] and math.isfinite(losses[0])


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_what_is_not_finite_in_bfloat16_is_seen_both_ways(tiny_bert, where):
    bundle = load_model(tiny_bert)

    def spoil(_module, _args, output):
        if output.dtype != torch.bfloat16:
            return output
        if where == "forward":
            return output * torch.inf
        return Spoiled.apply(output)

    assert learns_in_bfloat16(bundle)
    bundle.model.bert.encoder.layer[1].output.dense.register_forward_hook(spoil)
    assert not learns_in_bfloat16(bundle)


class Spoiled(torch.autograd.Function):
    """Nothing forth, infinity back."""

    @staticmethod
    def forward(_context, value):
        return value.clone()

    @staticmethod
    def backward(_context, gradient):
        return gradient * torch.inf


def test_the_trial_step_leaves_nothing_behind(tiny_bert):
    bundle = load_model(tiny_bert)
    before = torch.random.get_rng_state()
    learns_in_bfloat16(bundle)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(module.training for module in bundle.model.modules())
    assert all(weight.grad is None for weight in bundle.model.parameters())


class Doubling(ModelHook):
    """One of accelerate's hooks that shows in what the model gives."""

    def post_forward(self, module, output):
        return 2 * output


@pytest.mark.parametrize("path", ["", ".base_layer"], ids=["LoRA's module", "its base layer"])
def test_hooks_of_accelerate_go_on_working(tiny_bert, path):
    found = []
    for lean in (False, True):
        model, tokens = adapted_model(tiny_bert, lean=False)
        for name in READ_AT_FIRST:
            place = model.base_model.model.get_submodule(name + path)
            add_hook_to_module(place, Doubling())
        if lean:
            make_lean(model.base_model.model, READ_AT_FIRST)
        found.append(loss_and_gradients(model.eval(), tokens))
    (plain_loss, plain), (loss, ours) = found
    torch.testing.assert_close(loss, plain_loss)
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)
    model, tokens = adapted_model(tiny_bert, lean=True)
    assert not torch.isclose(loss_and_gradients(model.eval(), tokens)[0], loss, rtol=1e-3)
