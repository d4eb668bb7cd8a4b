"""Weights inside a model's blocks that get no score, by structure alone."""

import pytest
import torch
import transformers
from torch import nn

from adarank_core import load_model
from adarank_core.scoring.baselines import weight_norm
from adarank_core.scoring.eva import eva
from adarank_core.scoring.models import ModelBundle, adaptable_modules
from adarank_core.scoring.unscored import unscored_weights

SIZES = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 2}
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def kinds(model):
    return [name.split(".", 3)[3] for name in unscored_weights(model) if ".1." in name]


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("MixtralForCausalLM", {"num_local_experts": 2}, [*EXPERTS, "mlp.gate.weight"]),
        (
            "Qwen3MoeForCausalLM",
            {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
            [*EXPERTS, "mlp.gate.weight"],
        ),
        # Whose experts have biases, too.
        ("GptOssForCausalLM", {"num_local_experts": 2}, [*EXPERTS, "mlp.router.weight"]),
        ("LlamaForCausalLM", {}, []),
    ],
)
def test_experts_and_routers_of_real_models(kind, options, expected):
    model_class = getattr(transformers, kind)
    with torch.device("meta"):
        model = model_class(model_class.config_class(**SIZES, **options))
    assert sorted(kinds(model)) == sorted(expected)


class Mixture(nn.Module):
    """Two experts that are linear modules, two held as one parameter, and what is no weight."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.fused, self.fused_bias = (
            nn.Parameter(torch.ones(2, 4, 4)),
            nn.Parameter(torch.ones(2, 4)),
        )
        self.decay = nn.Parameter(torch.ones(1, 1, 4))  # a vector, as RWKV's
        self.seg_embed = nn.Parameter(torch.ones(2, 4))
        self.positions, self.convolution = nn.Embedding(4, 4), nn.Conv1d(4, 4, 3)


def test_linear_experts_are_scored_and_the_rest_is_told_apart():
    model = nn.ModuleDict({"layers": nn.ModuleList([Mixture()]), "head": nn.Bilinear(4, 4, 4)})
    scored = [module.name for module in adaptable_modules(model)]
    assert scored == ["layers.0.experts.0", "layers.0.experts.1"]
    assert unscored_weights(model) == ("layers.0.fused",)


def test_every_way_to_score_names_them(tiny_bert):
    bundle = load_model(tiny_bert)
    layer = bundle.model.bert.encoder.layer[1]
    layer.experts = nn.Parameter(torch.ones(2, 4, 4))
    bundle = ModelBundle(bundle.model, bundle.tokenizer, "mixture")
    for scores in (weight_norm(bundle), eva(bundle, ["the cat sat on the red dog"], 2, rho=1)):
        assert scores.not_scored == ("bert.encoder.layer.1.experts",)
