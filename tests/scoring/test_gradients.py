"""Gradients at the modules' outputs against finite differences, and what is read off them."""

import math

import pytest
import torch
from torch import nn

from adarank_core.data.texts import as_texts
from adarank_core.scoring.encoding import encode, logits_of
from adarank_core.scoring.gradients import linear_response, output_gradients
from adarank_core.scoring.heads import prepared
from adarank_core.scoring.models import adaptable_modules, load_model
from adarank_core.scoring.noise import activation_noise, generator_for, input_factor


@pytest.fixture(scope="module")
def bert(tiny_bert):
    bundle = load_model(tiny_bert)
    model = prepared(bundle, 0).double()
    [batch] = encode(bundle, as_texts(["the cat sat on the red dog", "the dog"]))
    return model, batch, [module.name for module in adaptable_modules(model)]


def test_gradients_are_finite_differences(bert):
    model, batch, names = bert
    with torch.inference_mode():
        gradients = output_gradients(model, batch, names, logits_of)
        clean, draw = logits_of(model, batch), torch.Generator().manual_seed(0)
        for name in names:
            texts, logits, tokens, out = gradients[name].shape
            assert (texts, logits, tokens) == (2, 2, 9)
            step = 1e-6 * torch.randn(texts, tokens, out, generator=draw, dtype=torch.float64)
            handle = model.get_submodule(name).register_forward_hook(
                lambda _module, _args, output, step=step: output + step
            )
            moved = (logits_of(model, batch) - clean) / 1e-6
            handle.remove()
            expected = (gradients[name] * step[:, None]).sum(dim=(2, 3)) / 1e-6
            torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)


def test_frozen_weights_have_gradients_too_and_nothing_is_left(bert):
    model, batch, names = bert
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    wanted = output_gradients(model, batch, names, logits_of)
    model.requires_grad_(False)
    found = output_gradients(model, batch, names, logits_of)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(before[name])
    assert all(torch.equal(found[name], wanted[name]) for name in names)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modules_that_run_twice_or_never_are_left_out():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.twice, self.never = (nn.Linear(2, 2) for _ in range(3))

    def read(model, batch):
        return model.twice(model.twice(model.one(batch["inputs"])))[:, 0]

    names = ["one", "twice", "never"]
    assert list(output_gradients(Twice(), {"inputs": torch.ones(1, 3, 2)}, names, read)) == ["one"]


def test_the_linear_response_has_the_mean_distance_it_is_said_to_have():
    draw = torch.Generator().manual_seed(0)
    mask = torch.ones(1, 5)
    factor = input_factor(torch.randn(1, 5, 8, generator=draw), mask) * 0.3
    gradient = torch.randn(1, 2, 5, 6, generator=draw)
    noise = activation_noise(factor, mask, 6, 20000, [generator_for(0, "query")])
    moved, expected = linear_response(gradient, noise, factor)
    assert moved.shape == (1, 20000, 2) and expected.dtype == torch.float64
    distances = (moved[0, ::2] - moved[0, 1::2]).abs().sum(dim=1).double()
    error = float(distances.std()) / math.sqrt(len(distances))
    assert float(distances.mean()) == pytest.approx(float(expected), abs=4 * error)
    assert error < 0.01 * float(expected)
