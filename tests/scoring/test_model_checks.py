"""Checkpoints whose files disagree: mended when they are loaded, or refused in one sentence."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    FNetConfig,
    FNetForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from adarank_core import AdaRankError, RankPlan, finetune, load_model, score
from adarank_core.data.texts import Texts
from adarank_core.scoring.encoding import encode, tokenised
from adarank_core.scoring.heads import fresh_head
from adarank_core.scoring.model_checks import LONGEST_TRIAL, TRIAL, padding_difference
from adarank_core.scoring.models import adaptable_modules
from adarank_core.training.settings import Settings


@pytest.fixture
def folder(tiny_bert, tmp_path):
    """A copy of the tiny BERT to break."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "copied"))


def edit(path, **values):
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **values}))


def refusal(folder, **options):
    with pytest.raises(AdaRankError) as caught:
        load_model(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tiny_llama(**config):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.3}
    return LlamaForCausalLM(LlamaConfig(vocab_size=24, **sizes, **heads, **config))


def tiny_xlnet(**config):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_inner": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    return XLNetForSequenceClassification(XLNetConfig(vocab_size=24, **sizes, **config))


def by_hand(bundle, texts):
    """Logits of each text alone: the plain tokenizer, no padding, the model's own forward."""
    with torch.inference_mode():
        return torch.cat(
            [bundle.model(**bundle.tokenizer(text, return_tensors="pt")).logits for text in texts]
        )


# Padding


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [None, -1, 0, 5])
def test_padding_moves_no_logits_whatever_the_files_say(saved, side, pad):
    """The stored padding number of a decoder decides which token its classifier reads."""
    model = tiny_llama(pad_token_id=None if pad == -1 else pad)
    folder = saved(model, padding_side=side)
    if pad == -1:
        edit(folder / "config.json", pad_token_id=-1)
    bundle = load_model(folder, head="classification")
    assert bundle.tokenizer.padding_side == "right"
    assert bundle.model.config.pad_token_id == bundle.tokenizer.pad_token_id
    texts = ("the cat", "the old dog sat on the red cat")
    [batch] = encode(bundle, Texts("list", texts))
    with torch.inference_mode():
        together = bundle.model(**batch).logits
    assert torch.allclose(together, by_hand(bundle, texts), atol=1e-5)
    assert padding_difference(bundle) < 1e-5


@pytest.mark.parametrize("stored", ["left", "right"])
def test_xlnet_is_padded_on_the_left(saved, stored):
    """Its classifier reads the last position, which padding on the right would fill."""
    bundle = load_model(saved(tiny_xlnet(), padding_side=stored))
    assert bundle.tokenizer.padding_side == "left"
    texts = ("the cat", "the old dog sat on the red cat")
    [batch] = encode(bundle, Texts("list", texts))
    with torch.inference_mode():
        together = bundle.model(**batch).logits
    assert torch.allclose(together, by_hand(bundle, texts), atol=1e-5)


def test_the_types_of_tokens_are_told_where_there_are_any(saved, tiny_bert, tiny_task, tmp_path):
    """XLNet's last token, at which it is read, has a type of its own."""
    folder = saved(tiny_xlnet())
    ends = [{"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    ends += [{"SpecialToken": {"id": "[CLS]", "type_id": 2}}]
    template = json.loads((folder / "tokenizer.json").read_text())["post_processor"]
    template["single"] = [{"Sequence": {"id": "A", "type_id": 0}}, *ends]
    edit(folder / "tokenizer.json", post_processor=template)
    edit(
        folder / "tokenizer_config.json",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    bundle, texts = load_model(folder, head="classification"), ("the cat", "the old dog sat")
    own = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        [batch] = encode(bundle, Texts("list", texts))
        together = bundle.model(**batch).logits
        alone = [bundle.model(**own(text, return_tensors="pt")).logits for text in texts]
    assert batch["token_type_ids"].max() == 2
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert score(bundle, texts, trials=2).modules
    names = [module.name for module in adaptable_modules(bundle.model)]
    plan = RankPlan("tiny", dict.fromkeys(names, 2), dict.fromkeys(names, 4))
    finetune(str(folder), tiny_task, plan, Settings(2, 8))
    [batch] = encode(load_model(tiny_bert), Texts("list", texts))
    assert list(batch) == ["input_ids", "attention_mask"]  # all types would be 0


def test_both_estimators_score_xlnet_alike(saved):
    """Noise on the weights of texts alone, nothing padded, is what both estimate."""
    bundle = load_model(saved(tiny_xlnet()))
    texts = ["the cat", "the old dog sat on the red cat", "a bird"]
    found = {
        name: score(bundle, texts, estimator=name, trials=trials, precision="float32", seed=1)
        for name, trials in (("fast", 60), ("paired", 200))
    }
    alone = [score(bundle, [text], estimator="paired", trials=200, seed=1) for text in texts]
    for at, (fast, paired) in enumerate(zip(*(s.modules for s in found.values()), strict=True)):
        error = math.hypot(fast.standard_error, paired.standard_error)
        assert abs(fast.score - paired.score) < 4 * error
        one_by_one = [scores.modules[at].score for scores in alone]
        assert paired.score == pytest.approx(sum(one_by_one) / len(texts), rel=1e-4)


@pytest.mark.parametrize("model", [tiny_llama, tiny_xlnet])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_reported_loss_is_the_saved_adapter_s(
    saved, tiny_task, tmp_path, side, model, monkeypatch
):
    """Each test text alone through the saved adapter, by PEFT and torch."""
    monkeypatch.setattr("adarank_core.training.finetuning.bf16_is_native", lambda _device: False)
    from peft import PeftModel

    folder = saved(model(pad_token_id=3), padding_side=side)
    names = [m.name for m in adaptable_modules(load_model(folder, head="classification").model)]
    plan = RankPlan("tiny", dict.fromkeys(names, 2), dict.fromkeys(names, 4))
    result = finetune(str(folder), tiny_task, plan, Settings(6, 8), output=tmp_path / "run")
    bundle = load_model(folder, head="classification")
    trained = PeftModel.from_pretrained(bundle.model, tmp_path / "run/adapter").eval()
    losses = []
    with torch.inference_mode():
        for text, label in zip(tiny_task.test["text"], tiny_task.test["label"], strict=True):
            logits = trained(**bundle.tokenizer(text, return_tensors="pt")).logits
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor([label])))
    assert result["test_loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)


def test_a_tokenizer_that_gives_no_mask_is_asked_for_one(folder):
    edit(folder / "tokenizer_config.json", model_input_names=["input_ids"])
    bundle = load_model(folder)
    assert tokenised(bundle, ["the cat"], 8)["attention_mask"] == [[1, 1, 1, 1]]
    assert padding_difference(bundle) < 1e-5


def test_a_model_whose_logits_hang_on_padding_is_refused(saved):
    """FNet mixes all tokens, padding too, by a Fourier transform."""
    torch.manual_seed(0)
    config = FNetConfig(vocab_size=24, hidden_size=16, num_hidden_layers=2, intermediate_size=32)
    config.initializer_range = 0.3
    said = refusal(saved(FNetForSequenceClassification(config)))
    assert "padding changes a text's logits by" in said


def test_a_model_that_cannot_read_two_texts_is_refused(folder, monkeypatch):
    from transformers import BertForSequenceClassification

    def fail(self, input_ids, **batch):
        raise RuntimeError("mat1 and mat2 shapes\ncannot be multiplied")

    monkeypatch.setattr(BertForSequenceClassification, "forward", fail)
    assert "it cannot read some texts together (mat1 and mat2 shapes)" in refusal(folder)


def test_the_trial_s_texts_are_of_all_short_lengths_and_a_long_one(embedded):
    rows = tokenised(embedded, TRIAL, LONGEST_TRIAL)["input_ids"]
    assert {len(row) - 2 for row in rows} == {*range(1, 9), 20}
    assert len({row[1] for row in rows}) > 4  # and they start with unlike words


def test_padding_that_counts_at_some_lengths_only_is_seen(folder, monkeypatch):
    """A model that reads tokens in fours, as some do that pool or hash them."""
    from transformers import BertForSequenceClassification

    forward = BertForSequenceClassification.forward

    def in_fours(self, input_ids, attention_mask):
        out = forward(self, input_ids=input_ids, attention_mask=attention_mask)
        padded = (attention_mask.sum(dim=1) == 7) & (input_ids.shape[1] > 7)
        out.logits = out.logits + 0.1 * padded[:, None]
        return out

    monkeypatch.setattr(BertForSequenceClassification, "forward", in_fours)
    assert "padding changes a text's logits by" in refusal(folder)


# Unlike texts


def test_a_model_to_which_all_texts_are_one_is_refused(folder, monkeypatch):
    """As MRA is without its CUDA kernel: attention gives nothing, and the first token is alone."""
    from transformers import BertModel

    forward = BertModel.forward

    def of_the_first_token(self, input_ids, attention_mask, **_options):
        return forward(self, input_ids=input_ids[:, :1], attention_mask=attention_mask[:, :1])

    monkeypatch.setattr(BertModel, "forward", of_the_first_token)
    assert "gives unlike texts the same logits" in refusal(folder)


def test_a_stored_head_of_zeros_is_no_reason_to_refuse(folder):
    """It is no trained one: scoring, fine-tuning and the trial draw a head of their own."""
    path = folder / "model.safetensors"
    head = {"classifier.weight": torch.zeros(2, 32), "classifier.bias": torch.zeros(2)}
    save_file(load_file(path) | head, path, metadata={"format": "pt"})
    bundle = load_model(folder)
    assert not bundle.model.classifier.weight.any()  # which is still the stored one
    assert list(fresh_head(bundle, 0)) == ["classifier"]


def test_a_tokenizer_that_knows_no_word_of_the_trial_says_nothing(folder):
    edit(
        folder / "tokenizer.json",
        normalizer={"type": "Replace", "pattern": {"Regex": "[a-z]"}} | {"content": "x"},
    )
    assert load_model(folder).model


# Vocabulary


def test_a_padding_token_beyond_the_model_gives_way_to_the_end_token(saved, tiny_bert):
    model = tiny_llama(pad_token_id=None)
    folder = saved(model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    tokenizer.save_pretrained(folder)
    bundle = load_model(folder)
    assert bundle.tokenizer.pad_token == bundle.tokenizer.eos_token
    assert score(bundle, ["the cat", "the"], trials=2).modules


def test_a_tokenizer_larger_than_the_model_is_refused(saved, tiny_bert):
    folder = saved(tiny_llama())
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.add_tokens(["one", "two"])
    tokenizer.save_pretrained(folder)
    said = refusal(folder)
    assert "has 26 tokens and the model 24" in said and "is beyond them" in said


# Weights and configuration


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(folder, value):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["bert.encoder.layer.1.output.dense.weight"][0, 0] = value
    save_file(tensors, path, metadata={"format": "pt"})
    said = refusal(folder)
    assert "the weight 'bert.encoder.layer.1.output.dense.weight'" in said
    assert "not finite" in said


def test_a_folder_with_an_adapter_is_refused(folder):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load_model(folder).model, LoraConfig(target_modules=["query"]))
    model.save_pretrained(folder)
    assert "also holds an adapter" in refusal(folder)


def test_a_language_model_s_head_is_not_drawn_at_random(tiny_bert):
    """A classifier's checkpoint has none; its scores would come from a random vocabulary head."""
    assert "has no trained language model's head" in refusal(tiny_bert, head="causal")


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_what_a_checkpoint_was_trained_for_does_not_decide_the_loss(folder, kind):
    edit(folder / "config.json", problem_type=kind)
    bundle = load_model(folder, labels=3)
    batch = bundle.tokenizer("the cat", return_tensors="pt")
    found = bundle.model(**batch, labels=torch.tensor([2]))
    expected = torch.nn.functional.cross_entropy(found.logits, torch.tensor([2]))
    assert torch.equal(found.loss, expected)


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan"), float("inf")])
def test_a_head_is_drawn_whatever_the_configuration_says(folder, deviation):
    bundle = load_model(folder)
    bundle.model.config.initializer_range = deviation
    head = fresh_head(bundle, seed=0)["classifier"]
    assert float(head.weight.detach().std()) == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("bare", [False, True])
def test_a_checkpoint_with_more_layers_than_its_configuration_is_refused(folder, bare):
    """Transformers loads the first layers, and what is scored is another model."""
    if bare:
        load_model(folder).model.base_model.save_pretrained(folder)
        assert load_model(folder).model.config.num_hidden_layers == 2
    edit(folder / "config.json", num_hidden_layers=1)
    assert "encoder.layer.1." in refusal(folder)


def test_a_bias_that_the_configuration_has_no_place_for_is_refused(saved, tiny_bert):
    folder = saved(tiny_llama(attention_bias=True))
    assert load_model(folder).model.config.attention_bias
    edit(folder / "config.json", attention_bias=False)
    assert "self_attn.k_proj.bias" in refusal(folder)


def test_a_missing_shard_is_named(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:9]}
    shards["model-00002-of-00002.safetensors"] = names[9:]
    index = {name: shard for shard, kept in shards.items() for name in kept}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    first = {name: tensors[name] for name in names[:9]}
    save_file(first, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    said = refusal(folder)
    assert "'model-00002-of-00002.safetensors', which its index names, is missing" in said
