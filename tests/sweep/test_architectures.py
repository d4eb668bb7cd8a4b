"""What holds on the transformers that there are: tiny models of each, from configurations.

The models and the checks are those of ``benchmarks/architectures.py``, which prints them as a
table. Some run always, all of them with ``pytest -m nightly``.
"""

import re

import pytest

from benchmarks.architectures import ARCHITECTURES, examine

# Unlike in what they are made of, and quick.
ALWAYS = (
    "bert roberta distilbert electra deberta-v2 albert mpnet modernbert nomic_bert openai-gpt "
    "gpt2 opt bloom falcon mixtral qwen2_moe gpt2-causal gpt_neox-causal gpt_oss-causal "
    "phi3-causal llama-causal gemma2-causal mpt-causal codegen rwkv"
)
ALWAYS = ALWAYS.split()

# What one sentence refuses, and a part of the sentence.
REFUSED = {}

# Not right yet; whoever mends one takes it out of here.
FAULTS = {}


def cases():
    for name in ARCHITECTURES:
        marks = [] if name in ALWAYS else [pytest.mark.nightly]
        if name in FAULTS:
            reason = FAULTS[name]
            marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
        yield pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", cases())
def test_what_is_promised_holds_or_one_sentence_refuses(name, tmp_path):
    row = examine(name, tmp_path)
    assert not row.faults
    said = " ".join(row.refusals.values())
    assert re.search(REFUSED[name], said) if name in REFUSED else not said


def test_there_are_enough_architectures():
    assert len({name.removesuffix("-causal") for name in ARCHITECTURES}) >= 60
    assert len(ALWAYS) == 25 and set(ALWAYS) <= set(ARCHITECTURES)
    assert {*FAULTS, *REFUSED} <= set(ARCHITECTURES) and not set(FAULTS) & set(REFUSED)
