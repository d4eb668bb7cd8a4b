"""What holds on the transformers that there are: tiny models of each, from configurations.

The models and the checks are those of ``benchmarks/architectures.py``, which prints them as a
table. Some run always, all of them with ``pytest -m nightly``.
"""

import re

import pytest

from benchmarks.architectures import ARCHITECTURES, examine

# Unlike in what they are made of, and quick.
ALWAYS = (
    "bert roberta distilbert electra deberta-v2 albert modernbert openai-gpt olmoe cohere "
    "gpt2 opt bloom-causal falcon-causal mixtral-causal granitemoe gpt2-causal "
    "gpt_neox-causal gpt_oss-causal phi3-causal llama-causal gemma2-causal mpt-causal codegen rwkv"
)
ALWAYS = ALWAYS.split()

# What one sentence refuses, and a part of the sentence.
NO_LINEAR = "no linear modules inside repeated blocks"
PADDING = "padding changes a text's logits by"
TOGETHER = "it cannot read some texts together"
EXPERTS = "PEFT does not build this plan for this model"
UNCALLED = "without calling the module"
REFUSED = {
    "ibert": NO_LINEAR,
    "squeezebert": NO_LINEAR,
    "bert-generation": "cannot be loaded as a model",
    "reformer": PADDING,
    "convbert": PADDING,
    "yoso": PADDING,
    "fnet": PADDING,
    "canine": TOGETHER,
    "nystromformer": TOGETHER,
    "mra": "gives unlike texts the same logits",
    "jamba": UNCALLED,
    "jamba-causal": UNCALLED,
    "mamba": UNCALLED,
    "mamba2": "PEFT cannot adapt this model so",
    "qwen3_moe": EXPERTS,
    "qwen3_moe-causal": EXPERTS,
    "qwen3_next": EXPERTS,
    "qwen3_next-causal": EXPERTS,
    "deepseek_v2": EXPERTS,
    "deepseek_v2-causal": EXPERTS,
    "deepseek_v3": EXPERTS,
    "deepseek_v3-causal": EXPERTS,
}


def cases():
    for name in ARCHITECTURES:
        marks = [] if name in ALWAYS else [pytest.mark.nightly]
        yield pytest.param(name, marks=marks)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("name", cases())
def test_what_is_promised_holds_or_one_sentence_refuses(name, tmp_path):
    row = examine(name, tmp_path)
    assert not row.faults
    said = " ".join(row.refusals.values())
    assert re.search(REFUSED[name], said) if name in REFUSED else not said


def test_there_are_enough_architectures():
    assert len({name.removesuffix("-causal") for name in ARCHITECTURES}) >= 60
    assert len(ALWAYS) == 25 and set(ALWAYS) <= set(ARCHITECTURES)
    assert set(REFUSED) <= set(ARCHITECTURES)
