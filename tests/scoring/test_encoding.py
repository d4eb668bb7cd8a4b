"""From texts to tokens and to the logits that count."""

import json
import random
import shutil
import threading
from types import SimpleNamespace

import pytest
import torch
from tokenizers.normalizers import Replace
from torch import nn
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from adarank_core import AdaRankError, load_model, score, score_iter, sentence
from adarank_core.data.texts import as_texts
from adarank_core.scoring.encoding import encode, logits_of, longest_text, tokenised
from adarank_core.training.objectives import objective_for


def refusal(bundle, texts):
    with pytest.raises(AdaRankError) as caught:
        score_iter(bundle, texts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sessions_that_share_a_tokenizer_do_not_disturb_each_other(bert):
    """A fast tokenizer keeps how it pads and cuts; another thread may change that meanwhile."""
    texts = as_texts(["cat", "the cat sat on the red dog", "the dog"])
    failures = []

    def work(longest):
        for _ in range(100):
            try:
                (batch,) = encode(bert, texts, longest)
                if batch["input_ids"].shape[1] != min(longest, 9):
                    failures.append(batch["input_ids"].shape)
            except ValueError as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(longest,)) for longest in (4, 6, 20, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_sentence_past_the_model_s_length_is_refused_and_a_text_is_cut(bert):
    long = " ".join(random.Random(0).choices(["cat", "dog"], k=400))
    assert "402 tokens and the model reads at most 160" in refusal(bert, sentence(long))
    batch = encode(bert, as_texts([long, "cat"]), max_length=128)[0]
    assert batch["input_ids"].shape == (2, 128)
    assert batch["attention_mask"].sum(dim=1).tolist() == [128, 3]
    assert encode(bert, as_texts([long]), 999)[0]["input_ids"].shape == (1, 160)


def test_a_text_without_tokens_is_refused(tiny_gpt2):
    bundle = load_model(tiny_gpt2)
    bundle.tokenizer.backend_tokenizer.normalizer = Replace("bird", "")
    assert "the text 'bird' has no tokens" in refusal(bundle, ["cat", "bird"])


def test_texts_of_special_tokens_alone_are_refused(embedded):
    for blank in ("\u200b", "\u00ad\u200d"):
        assert f"has a word that the model's tokenizer knows (the first is {blank!r})" in refusal(
            embedded, [blank, "\u200b"]
        )
    assert len(score(embedded, ["\u200b", "cat"], trials=2, modules="5.output").modules) == 1


def test_the_last_real_token_is_what_a_language_model_is_judged_by(tiny_gpt2):
    bundle = load_model(tiny_gpt2)
    texts = as_texts(["the cat sat on the red dog", "cat"])
    with torch.inference_mode():
        both = logits_of(bundle.model, encode(bundle, texts)[0])
        alone = logits_of(bundle.model, encode(bundle, sentence("cat"))[0])
    assert both.shape == (2, bundle.model.config.vocab_size)
    torch.testing.assert_close(both[1:], alone)


def test_half_precision_logits_are_compared_in_full_precision(bert):
    bert.model.to(torch.bfloat16)
    assert isinstance(bert.model.classifier, nn.Linear)
    with torch.inference_mode():
        logits = logits_of(bert.model, encode(bert, sentence("cat"))[0])
    assert logits.dtype == torch.float32


def test_the_longest_text_is_the_smaller_of_both_limits(tiny_bert):
    bundle = load_model(tiny_bert)
    assert longest_text(bundle) == 160
    bundle.tokenizer.model_max_length = 12
    assert longest_text(bundle) == 12
    bundle.tokenizer.model_max_length = int(1e30)
    assert longest_text(bundle) == 160


@pytest.mark.parametrize("longest", [1, 2])
def test_a_limit_that_leaves_no_word_of_a_text_is_refused(bert, longest):
    """[CLS] and [SEP] are two tokens: what would be scored and trained on is no text."""
    with pytest.raises(AdaRankError, match=f"cut to {longest} tokens, of which 2 are special"):
        score(bert, ["the cat"], trials=2, max_length=longest)
    with pytest.raises(AdaRankError, match="no word would be left"):
        tokenised(bert, ["the cat"], longest)
    assert score(bert, ["the cat"], trials=2, max_length=3).modules


@pytest.mark.parametrize("stored", ["512", 0, -5, None, True])
def test_a_stored_limit_that_is_no_length_sets_none(tiny_bert, tmp_path, stored):
    folder = shutil.copytree(tiny_bert, tmp_path / "copied")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": stored}))
    bundle = load_model(folder)
    assert longest_text(bundle) == 160
    assert score(bundle, ["the cat"], trials=2).modules


def test_a_token_that_the_model_does_not_know_is_named(bert):
    bert.tokenizer.add_tokens(["<new>"])
    with pytest.raises(AdaRankError, match="has the token 24, but the model has 24 tokens"):
        score(bert, ["the <new> cat"], trials=2)


def test_a_text_with_an_end_token_in_it_is_named(saved):
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=24,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        eos_token_id=3,
        pad_token_id=0,
        bos_token_id=2,
        decoder_start_token_id=3,
        forced_eos_token_id=None,
    )
    bundle = load_model(saved(BartForSequenceClassification(config)))
    assert score(bundle, ["the cat", "the red cat"], trials=2, modules="fc1").modules
    with pytest.raises(AdaRankError, match=r"'the \[SEP\] cat' holds '\[SEP\]'"):
        score(bundle, ["the [SEP] cat", "the red cat"], trials=2, modules="fc1")


@pytest.mark.parametrize(("padding", "longest"), [(0, 39), (1, 38)])
def test_roberta_counts_positions_after_its_padding(saved, padding, longest):
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=24,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        pad_token_id=padding,
    )
    bundle = load_model(saved(RobertaForSequenceClassification(config)))
    assert longest_text(bundle) == longest
    text = " ".join(["cat"] * 60)
    assert score(bundle, [text], trials=2).modules  # the longest that it reads
    with torch.inference_mode(), pytest.raises((IndexError, RuntimeError)):
        bundle.model(torch.full((1, longest + 1), 7))


@pytest.mark.parametrize("limit", [-1, 0])
def test_a_configuration_without_a_limit_sets_none(bert, limit):
    bert.model.config.max_position_embeddings = limit
    assert longest_text(bert) == bert.tokenizer.model_max_length


class OwnForSequenceClassification(nn.Module):
    """As BioGPT's classifier: it takes ``logits_to_keep``, and looks for the last token itself."""

    def forward(self, input_ids, attention_mask, logits_to_keep=0):
        assert logits_to_keep == 0
        last = attention_mask.sum(dim=1) - 1
        return SimpleNamespace(logits=input_ids[torch.arange(len(last)), last][:, None].float())


class Echo(nn.Module):
    """Its logits say which token it has read, at every token."""

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=nn.functional.one_hot(input_ids).float())


@pytest.mark.parametrize("ids", [[[0, 0, 5], [7, 2, 3]], [[5, 0, 0], [7, 2, 3]]])
def test_the_last_real_token_is_found_on_either_side_of_the_padding(ids):
    ids = torch.tensor(ids)
    found = logits_of(Echo(), {"input_ids": ids, "attention_mask": (ids > 0).int()})
    assert found.argmax(dim=1).tolist() == [5, 3]


def test_a_classifier_is_never_asked_for_few_logits():
    batch = {"input_ids": torch.tensor([[5, 7, 0], [1, 2, 3]])}
    batch["attention_mask"] = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert logits_of(OwnForSequenceClassification(), batch).tolist() == [[7], [3]]


def test_texts_that_the_tokenizer_does_not_know_are_refused(bert, tiny_task):
    """All of them are one row of [UNK], in scoring and in training."""
    unknown = ["zork blorb", "frotz"]
    assert "none of the 2 texts has a word that the model's tokenizer knows" in refusal(
        bert, unknown
    )
    assert encode(bert, as_texts([*unknown, "cat"]))[0]["input_ids"].shape[0] == 3
    rows = tiny_task.train.assign(text="zork")
    with pytest.raises(AdaRankError, match="none of the 96 texts has a word"):
        objective_for(tiny_task).tokenise(bert, rows, 16)
