"""The lean forward pass against PEFT's own, and what it must leave alone."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from adarank_core.comparison.arms import same_rank
from adarank_core.scoring.models import load_model
from adarank_core.training.adapters import adapted
from adarank_core.training.speedups import first_token_modules, make_lean

LAST = "bert.encoder.layer.1."
READ_AT_FIRST = tuple(
    LAST + name
    for name in (
        "attention.self.query",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    )
)
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


def test_a_classifier_of_the_first_token_reads_no_other_of_the_last_block(tiny_bert):
    bundle = load_model(tiny_bert, head="classification")
    assert first_token_modules(bundle) == READ_AT_FIRST
    assert not any(module._forward_hooks for module in bundle.model.modules())


def test_modules_of_a_decoder_compute_all_tokens(tiny_gpt2):
    assert first_token_modules(load_model(tiny_gpt2, head="classification")) == ()


def test_no_gradient_is_no_proof(tiny_bert):
    bundle = load_model(tiny_bert, head="classification")

    def far_from_here(_module, inputs, output):
        """Add nothing where the other tokens' sum is small, as it is, with no gradient."""
        return output + torch.relu(inputs[0][:, 1:].sum(dim=(1, 2)) - 1e9)[:, None]

    bundle.model.bert.pooler.register_forward_hook(far_from_here)
    assert first_token_modules(bundle) == ()


def test_a_text_of_one_token_tells_nothing(tiny_bert, monkeypatch):
    bundle = load_model(tiny_bert, head="classification")
    one = {"input_ids": torch.tensor([[2]]), "attention_mask": torch.tensor([[1]])}
    monkeypatch.setattr(type(bundle.tokenizer), "__call__", lambda *_args, **_options: one)
    assert first_token_modules(bundle) == ()


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
