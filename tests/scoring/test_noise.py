"""Noise on one module: drawn from the seed, for its weight or for its inputs."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from adarank_core.scoring import noise as noise_file
from adarank_core.scoring.noise import (
    ModuleNoise,
    OutputNoise,
    activation_noise,
    add_to_output,
    deviation,
    generator_for,
    input_factor,
    module_noise,
    weight_noise,
)
from adarank_core.scoring.options import ScoringOptions


def test_noise_has_the_weight_s_deviation_times_the_scale():
    weight = 3 + 0.5 * torch.randn(400, 300, generator=torch.Generator().manual_seed(0))
    noise = weight_noise(weight, 2.0, generator_for(0, "query"))
    assert noise.shape == weight.shape and noise.dtype == weight.dtype
    assert noise.std().item() == pytest.approx(2 * weight.std().item(), rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)


def test_noise_differs_by_seed_name_instance_and_text():
    ways = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a/0", 1), (-1, "a", 0)]
    ways += [(0, "a", 0, 1), (0, "a", 1, 1)]
    drawn = [torch.rand(3, generator=generator_for(*way)) for way in ways]
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == len(ways)
    assert torch.equal(torch.rand(3, generator=generator_for(*ways[1])), drawn[1])


def test_a_lower_precision_gets_the_same_draw():
    weight = torch.randn(8, 8)
    full = weight_noise(weight, 1.0, generator_for(0, "query"))
    half = weight_noise(weight.bfloat16(), 1.0, generator_for(0, "query"))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("layer", [nn.Linear(5, 3), Conv1D(3, 5)], ids=["linear", "conv1d"])
def test_the_hook_acts_as_if_the_weight_had_changed(layer):
    inputs, noise = torch.randn(4, 7, 5), torch.randn(layer.weight.shape)
    with add_to_output(layer, noise):
        noisy = layer(inputs)
    clean = layer(inputs)
    with torch.no_grad():
        layer.weight += noise
    torch.testing.assert_close(noisy, layer(inputs))
    assert not torch.allclose(noisy, clean)


def test_the_hook_is_removed_after_an_exception():
    layer = nn.Linear(2, 2)
    with pytest.raises(KeyError), add_to_output(layer, torch.ones(2, 2)):
        raise KeyError
    assert not layer._forward_hooks


def test_noise_in_activation_space_has_the_covariance_of_the_inputs():
    inputs = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    inputs[1, 2] = inputs[1, 1]  # the same token twice, which makes the Gram matrix singular
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    factor = input_factor(inputs, mask)
    generators = [generator_for(0, "query", 0, text) for text in range(2)]
    drawn = activation_noise(factor, mask, 3, 20_000, generators)
    assert drawn.shape == (2, 20_000, 4, 3)
    for text, length in enumerate((4, 3)):
        real = inputs[text, :length]
        for out in range(3):
            found = torch.cov(drawn[text, :, :length, out].T)
            torch.testing.assert_close(found, real @ real.T, rtol=0.05, atol=0.2)
        across = (drawn[text, :, :length, 0] * drawn[text, :, :length, 1]).mean(dim=0)
        torch.testing.assert_close(across, torch.zeros(length), rtol=0, atol=0.2)
    assert not drawn[1, :, 3].any()


@pytest.mark.parametrize("real", [slice(3), slice(2, 5)], ids=["right", "left"])
def test_padding_and_company_change_no_draw(real):
    inputs = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[0] * 5, [1] * 5])
    mask[0, real] = 1
    both = activation_noise(
        input_factor(inputs, mask),
        mask,
        4,
        2,
        [generator_for(0, "query", 0, text) for text in range(2)],
    )
    one = torch.ones(1, 3)
    factor = input_factor(inputs[:1, real], one)
    alone = activation_noise(factor, one, 4, 2, [generator_for(0, "query")])
    torch.testing.assert_close(both[:1, :, real], alone)
    assert not both[0][:, mask[0] == 0].any()


def test_the_deviation_of_a_large_weight_is_that_of_all_its_parts(monkeypatch):
    weight = 3 + torch.randn(70, 30, generator=torch.Generator().manual_seed(0))
    for part in (10**6, 64):
        monkeypatch.setattr(noise_file, "CHUNK", part)
        assert deviation(weight) == pytest.approx(weight.double().std().item(), rel=1e-12)


@pytest.mark.parametrize("kind", [{}, {"uniform": True}, {"rank": 2}], ids=str)
def test_noise_at_outputs_has_the_covariance_of_noisy_weights_and_bias(kind):
    """``X E^T + 1 b^T``: covariance ``s² X X^T + s_b² 1 1^T`` over tokens, none at padding."""
    inputs = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    law = ModuleNoise(0.5, 0.2, **kind)
    generators = [generator_for(0, "query", text=text) for text in range(2)]
    noise = OutputNoise(law, inputs, mask, input_factor(inputs, mask), 2, generators)
    drawn = noise.draw(20_000)[..., 0]
    for text, length in enumerate((4, 2)):
        real = inputs[text, :length]
        expected = 0.25 * real @ real.mT + 0.04
        found = drawn[text, :, :length].mT @ drawn[text, :, :length] / 20_000
        torch.testing.assert_close(found, expected, atol=0.04, rtol=0.05)
    assert not drawn[1, :, 2:].any()


def test_noise_of_a_rank_has_that_rank_at_the_outputs():
    inputs, mask = torch.eye(6, dtype=torch.float64)[None], torch.ones(1, 6)
    law, generators = ModuleNoise(0.5, rank=2), [generator_for(0, "query")]
    drawn = OutputNoise(law, inputs, mask, input_factor(inputs, mask), 9, generators).draw(3)
    assert torch.linalg.matrix_rank(drawn[0]).tolist() == [2, 2, 2]


def test_how_instances_are_split_changes_no_number():
    inputs, mask = torch.randn(1, 4, 3), torch.ones(1, 4)
    for kind in ({}, {"uniform": True}, {"rank": 2}):
        one, other = (
            OutputNoise(
                ModuleNoise(0.5, **kind),
                inputs,
                mask,
                input_factor(inputs, mask),
                5,
                [generator_for(0, "query")],
            )
            for _ in range(2)
        )
        whole = one.draw(3)
        parts = torch.cat([other.draw(1), other.draw(2)], dim=1)
        torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gaussian", ModuleNoise(4.0)),
        ("uniform", ModuleNoise(4.0, uniform=True)),
        ("absolute", ModuleNoise(2.0)),
        ("rank-12,bias", ModuleNoise(4.0, 6.0, rank=12)),
        ("bias", ModuleNoise(4.0, 6.0)),
        ("uniform,absolute,bias", ModuleNoise(2.0, 2.0, uniform=True)),
    ],
)
def test_the_words_of_noise_say_how_large_it_is(words, expected):
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[0.0, 8**0.5]]), torch.tensor([0.0])
    layer.bias = nn.Parameter(torch.tensor([0.0, 18**0.5]))
    found = module_noise(layer, ScoringOptions(noise=words, noise_scale=2.0))
    assert found.deviation == pytest.approx(expected.deviation)
    assert found.bias_deviation == pytest.approx(expected.bias_deviation)
    assert (found.uniform, found.rank) == (expected.uniform, expected.rank)
    bare = nn.Linear(2, 1, bias=False)
    assert module_noise(bare, ScoringOptions(noise=words)).bias_deviation == 0
