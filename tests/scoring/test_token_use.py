"""Which tokens' outputs reach the logits: no gradient there, and NaN changes nothing."""

import pytest
import torch
from torch import nn

from adarank_core.scoring.gradients import output_gradients
from adarank_core.scoring.models import load_model
from adarank_core.scoring.token_use import first_token_modules, tokens_that_count

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


class Reader(nn.Module):
    """A layer of two features, and a head that reads some tokens' outputs, each in its own way."""

    def __init__(self, head):
        super().__init__()
        self.layer, self.head = nn.Linear(2, 2), head

    def forward(self, inputs):
        return self.head(self.layer(inputs))


def tokens_of(head, texts=2, tokens=4):
    torch.manual_seed(0)
    model, batch = Reader(head), {"inputs": torch.randn(texts, tokens, 2)}

    def read(model, batch):
        return model(**batch)

    gradients = output_gradients(model, batch, ["layer"], read)
    with torch.inference_mode():
        found = tokens_that_count(model, batch, read, read(model, batch), gradients)
    assert not model.layer._forward_hooks
    return found


def test_tokens_are_told_only_where_at_most_half_count():
    found = tokens_of(lambda outputs: outputs[:, :2].sum(dim=1))["layer"]
    assert found.tolist() == [[True, True, False, False]] * 2
    by_text = tokens_of(lambda outputs: torch.stack([outputs[0, 3], outputs[1, 0]]))["layer"]
    assert by_text.tolist() == [[False, False, False, True], [True, False, False, False]]
    assert tokens_of(lambda outputs: outputs[:, :3].sum(dim=1)) == {}
    assert tokens_of(lambda outputs: 0 * outputs.sum(dim=1)) == {}


@pytest.mark.parametrize("part", [torch.relu, lambda x: x.clamp_min(0) ** 2])
def test_a_token_that_counts_only_where_it_is_large_is_not_left_out(part):
    def head(outputs):
        return outputs[:, 0] + part(outputs[:, 1:].sum(dim=1) - 1e9)

    assert tokens_of(head) == {}


def test_outputs_of_another_shape_than_texts_and_tokens_are_left_alone():
    """As Longformer's query of its global tokens: 1 × texts × features."""
    torch.manual_seed(0)
    model, batch = nn.Linear(2, 2), {"inputs": torch.randn(1, 4, 2)}
    gradients = {"": torch.eye(4)[:1, None, :3, None]}  # of 3 tokens, the first counts

    def read(model, batch):
        return model(batch["inputs"])[:, 0]

    assert tokens_that_count(model, batch, read, read(model, batch), gradients) == {}


def test_a_model_that_gives_nan_tells_nothing():
    assert tokens_of(lambda outputs: outputs[:, 0] * torch.nan) == {}


# A classifier's first token


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
    one = {"input_ids": [[2]] * 3, "attention_mask": [[1]] * 3}
    monkeypatch.setattr(type(bundle.tokenizer), "__call__", lambda *_args, **_options: one)
    assert first_token_modules(bundle) == ()


def test_a_module_that_puts_texts_where_others_have_tokens_is_not_one_of_them(tiny_bert):
    """Longformer asks for its global tokens apart: of one text, tokens × texts looks like it."""
    bundle = load_model(tiny_bert, head="classification")
    pooler = bundle.model.bert.pooler
    extra = nn.ModuleList([nn.ModuleDict({"query": nn.Linear(32, 32)})])
    bundle.model.bert.extra = extra

    def first_of_all(states):
        first = extra[0]["query"](states[:, :1].transpose(0, 1))  # 1 × texts × features
        return type(pooler).forward(pooler, states) + first[0]

    pooler.forward = first_of_all
    assert first_token_modules(bundle) == READ_AT_FIRST
