"""Attention and feed-forward modules, in models that are built in many ways."""

from types import SimpleNamespace

import pytest
from torch import nn

from adarank_core import AdaRankError, adaptable_modules, load_model
from adarank_core.scoring import parts
from adarank_core.scoring.parts import part_modules
from benchmarks.architectures import build

# By architecture: families of attention modules; the others are feed-forward.
ATTENTION = {
    "albert": "query key value dense",
    "bart": "k_proj v_proj q_proj out_proj",
    "distilbert": "q_lin k_lin v_lin out_lin",
    "gpt2": "c_attn attn.c_proj",
    "opt": "k_proj v_proj q_proj out_proj",
    "qwen2": "q_proj k_proj v_proj o_proj",
    "t5": "q k v o",
}


@pytest.mark.parametrize("name", ATTENTION)
def test_every_module_is_attention_or_feed_forward(tmp_path, name):
    model = load_model(build(name, tmp_path)).model
    known = [module.name for module in adaptable_modules(model)]
    attention, mlp = (part_modules(model, part) for part in ("attention", "mlp"))
    assert sorted((*attention, *mlp)) == sorted(known)
    ends = tuple(f".{family}" for family in ATTENTION[name].split())
    assert list(attention) == [one for one in known if one.endswith(ends)]


def test_a_model_without_attention_is_refused(monkeypatch):
    class MambaMixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.in_proj = nn.Linear(2, 2)

    model = nn.ModuleDict({"layers": nn.ModuleList([MambaMixer()])})
    found = (SimpleNamespace(name="layers.0.in_proj"),)
    monkeypatch.setattr(parts, "adaptable_modules", lambda model: found)
    for part, called in (("attention", "attention"), ("mlp", "feed-forward")):
        with pytest.raises(AdaRankError, match=f"has no {called}"):
            part_modules(model, part)
