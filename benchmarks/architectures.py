"""Does the project hold what it promises on the transformers that there are?

Prints a Markdown table, one row an architecture: tiny models with random weights, built from
configurations of the installed transformers, so that nothing is downloaded.
``tests/sweep/test_architectures.py`` asserts what is printed here. From the repository's root:

    python benchmarks/architectures.py                 # all of them: some minutes on one core
    python benchmarks/architectures.py bert gpt2 t5    # these
"""

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase
from unittest import mock

import numpy as np
import pandas as pd
import torch
import transformers
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import AdaRankError, allocate, finetune, load_model, score
from adarank_core.data.task import Task
from adarank_core.data.texts import as_texts
from adarank_core.scoring.encoding import encode, logits_of
from adarank_core.scoring.heads import head_names, prepared
from adarank_core.scoring.models import ModelBundle, adaptable_modules
from adarank_core.scoring.noise import add_to_output, generator_for, weight_noise
from adarank_core.scoring.partial_forward import Recording
from adarank_core.training.adapters import adapted
from adarank_core.training.finetuning import Settings

WORDS = "the a cat dog bird sun rain sat ran sang on under red old new good bad very not and"
WORDS = WORDS.split()
PAD, UNKNOWN, START, END = range(4)
VOCABULARY = 40

# The largest differences that rounding explains: of logits, of a mean loss in float32, and of a
# score whose products are in bfloat16 (over the mean score; a router may choose other experts).
SAME_LOGITS = 1e-4
SAME_LOSS = 1e-4
SAME_SCORE = 0.25
# Of 1,900 modules and of 154 models: what a normal number exceeds by chance once in thirty times.
MOST_Z, MOST_Z_OF_MODEL = 4.3, 3.7
SEEDS, PAIRS, INSTANCES = 6, 2, 4
# Unlike lengths, and one batch for both estimators.
TEXTS = ["the cat sat on the red dog", "a bird", "a red cat sat", "the old sun sang very good"]
# Of nearly all lengths that one could think of: what reads tokens in fours goes wrong at some only.
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 11)


# The models. By name: class, and the options that differ from the transformers' own.

IDS = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
USUAL = {
    **IDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
GROUPED = {**USUAL, "num_key_value_heads": 1}
HEAD_SIZE = {**GROUPED, "head_dim": 16}
N_STYLE = {**IDS, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
D_STYLE = {**IDS, "d_model": 32, "n_layers": 2, "n_heads": 2}
# Whose padding id is not 0 take it from the tokenizer: RoBERTa's kin count positions from it.
PAD_1 = {**USUAL, "pad_token_id": 1, "max_position_embeddings": 66}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
T5 = {**IDS, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
T5 |= {"decoder_start_token_id": PAD}
BART = {
    **IDS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "decoder_start_token_id": END,
    "forced_eos_token_id": END,
}
XLM = {**IDS, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
MULTI_LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}

ENCODERS = {
    "bert": ("Bert", USUAL),
    "roberta": ("Roberta", PAD_1),
    "xlm-roberta": ("XLMRoberta", PAD_1),
    "xlm-roberta-xl": ("XLMRobertaXL", PAD_1),
    "camembert": ("Camembert", PAD_1),
    "data2vec-text": ("Data2VecText", PAD_1),
    "roberta-prelayernorm": ("RobertaPreLayerNorm", PAD_1),
    "xmod": ("Xmod", {**PAD_1, "languages": ["en_XX"], "default_language": "en_XX"}),
    "ibert": ("IBert", PAD_1),
    "esm": ("Esm", {**PAD_1, "mask_token_id": 3}),
    "longformer": ("Longformer", {**PAD_1, "attention_window": 8}),
    "distilbert": (
        "DistilBert",
        {**IDS, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    ),
    "electra": ("Electra", {**USUAL, "embedding_size": 16}),
    "deberta": ("Deberta", {**USUAL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "deberta-v2": (
        "DebertaV2",
        {**USUAL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    "albert": ("Albert", {**USUAL, "embedding_size": 16}),
    "mpnet": ("MPNet", PAD_1),
    "xlnet": (
        "XLNet",
        {**IDS, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48},
    ),
    "big_bird": ("BigBird", {**USUAL, "block_size": 4, "num_random_blocks": 1}),
    "big_bird-full": ("BigBird", {**USUAL, "attention_type": "original_full"}),
    "funnel": (
        "Funnel",
        {**IDS, "block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 48},
    ),
    "nystromformer": (
        "Nystromformer",
        {**USUAL, "segment_means_seq_len": 64, "num_landmarks": 8},
    ),
    "reformer": (
        "Reformer",
        {
            **IDS,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "attention_head_size": 16,
            "feed_forward_size": 48,
            "attn_layers": ["local", "lsh"],
            "axial_pos_shape": [8, 8],
            "axial_pos_embds_dim": [16, 16],
            "local_attn_chunk_length": 8,
            "lsh_attn_chunk_length": 8,
            "num_buckets": 2,
            "num_hashes": 1,
            "max_position_embeddings": 64,
            "hash_seed": 0,
            "is_decoder": False,
        },
    ),
    "squeezebert": ("SqueezeBert", {**USUAL, "embedding_size": 32}),
    "mobilebert": (
        "MobileBert",
        {**USUAL, "embedding_size": 16, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    ),
    "convbert": (
        "ConvBert",
        {**USUAL, "embedding_size": 32, "head_ratio": 1, "conv_kernel_size": 3},
    ),
    "roformer": ("RoFormer", {**USUAL, "embedding_size": 32}),
    "xlm": ("XLM", XLM),
    "flaubert": ("Flaubert", XLM),
    "ernie": ("Ernie", USUAL),
    "megatron-bert": ("MegatronBert", USUAL),
    "rembert": ("RemBert", {**USUAL, "input_embedding_size": 16, "output_embedding_size": 16}),
    "roc_bert": (
        "RoCBert",
        {**USUAL, "enable_pronunciation": False, "enable_shape": False},
    ),
    "modernbert": (
        "ModernBert",
        {**USUAL, "cls_token_id": START, "sep_token_id": END, "local_attention": 16},
    ),
    "canine": ("Canine", {**USUAL, "num_hash_buckets": 64}),
    "fnet": ("FNet", {**USUAL, "tpu_short_seq_length": 64}),
    "eurobert": ("EuroBert", HEAD_SIZE),
    "nomic_bert": ("NomicBert", HEAD_SIZE),
    "mra": ("Mra", USUAL),
    "yoso": ("Yoso", USUAL),
    "luke": ("Luke", {**PAD_1, "entity_vocab_size": 8, "entity_emb_size": 16}),
    "layoutlm": ("LayoutLM", USUAL),
    "perceiver": (
        "Perceiver",
        {
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 64,
            "d_model": 32,
            "d_latents": 32,
            "num_latents": 8,
            "num_blocks": 1,
            "num_self_attends_per_block": 2,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 2,
        },
    ),
}
DECODERS = {
    "gpt2": ("GPT2", N_STYLE),
    "gpt_bigcode": ("GPTBigCode", N_STYLE),
    "gpt_neo": (
        "GPTNeo",
        {
            **IDS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
            "max_position_embeddings": 64,
        },
    ),
    "gpt_neox": ("GPTNeoX", USUAL),
    "gptj": ("GPTJ", {**N_STYLE, "rotary_dim": 8}),
    "openai-gpt": ("OpenAIGPT", N_STYLE),
    "ctrl": ("CTRL", {**N_STYLE, "dff": 48}),
    "opt": ("OPT", {**USUAL, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": ("Bloom", {**IDS, "hidden_size": 32, "n_layer": 2, "n_head": 2}),
    "llama": ("Llama", GROUPED),
    "mistral": ("Mistral", HEAD_SIZE),
    "ministral": ("Ministral", HEAD_SIZE),
    "mixtral": ("Mixtral", {**GROUPED, "num_local_experts": 4}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen2_moe": (
        "Qwen2Moe",
        {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 24},
    ),
    "qwen3": ("Qwen3", HEAD_SIZE),
    "qwen3_moe": ("Qwen3Moe", {**HEAD_SIZE, **EXPERTS, "mlp_only_layers": [0]}),
    "qwen3_next": (
        "Qwen3Next",
        {
            **HEAD_SIZE,
            **EXPERTS,
            "shared_expert_intermediate_size": 24,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    "gemma": ("Gemma", HEAD_SIZE),
    "gemma2": ("Gemma2", {**HEAD_SIZE, "sliding_window": 16}),
    "gemma3_text": ("Gemma3Text", {**HEAD_SIZE, "sliding_window": 16}),
    "phi": ("Phi", USUAL),
    "phi3": ("Phi3", GROUPED),
    "phimoe": ("Phimoe", {**GROUPED, "num_local_experts": 4}),
    "falcon": ("Falcon", {**USUAL, "new_decoder_architecture": False}),
    "mpt": ("Mpt", {**D_STYLE, "max_seq_len": 64, "expansion_ratio": 2}),
    "stablelm": ("StableLm", GROUPED),
    "starcoder2": ("Starcoder2", GROUPED),
    "olmo": ("Olmo", GROUPED),
    "olmo2": ("Olmo2", GROUPED),
    "olmo3": ("Olmo3", GROUPED),
    "deepseek_v2": ("DeepseekV2", {**USUAL, **MULTI_LATENT}),
    "deepseek_v3": ("DeepseekV3", {**USUAL, **MULTI_LATENT}),
    "glm": ("Glm", HEAD_SIZE),
    "glm4": ("Glm4", HEAD_SIZE),
    "smollm3": ("SmolLM3", GROUPED),
    "nemotron": ("Nemotron", {**GROUPED, "head_dim": 16}),
    "persimmon": ("Persimmon", USUAL),
    "biogpt": ("BioGpt", USUAL),
    "helium": ("Helium", HEAD_SIZE),
    "diffllama": ("DiffLlama", {**GROUPED, "num_key_value_heads": 2}),
    "gpt_oss": ("GptOss", {**HEAD_SIZE, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "jetmoe": (
        "JetMoe",
        {**IDS, "hidden_size": 32, "num_hidden_layers": 2, "num_key_value_heads": 2}
        | {"kv_channels": 16, "intermediate_size": 48, "num_local_experts": 4},
    ),
    "minimax": ("MiniMax", {**HEAD_SIZE, "num_local_experts": 4, "block_size": 8}),
    "jamba": (
        "Jamba",
        {**GROUPED, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2}
        | {"expert_layer_offset": 1, "num_experts": 4, "mamba_d_state": 4, "mamba_dt_rank": 4}
        | {"use_mamba_kernels": False},
    ),
}
# Language models that transformers has no classifier of.
CAUSAL_ONLY = {
    "cohere": ("CohereForCausalLM", GROUPED),
    "cohere2": ("Cohere2ForCausalLM", GROUPED),
    "granite": ("GraniteForCausalLM", GROUPED),
    "granitemoe": ("GraniteMoeForCausalLM", {**GROUPED, "num_local_experts": 4}),
    "olmoe": ("OlmoeForCausalLM", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "codegen": ("CodeGenForCausalLM", {**N_STYLE, "n_head": 4, "rotary_dim": 8}),
    "xglm": (
        "XGLMForCausalLM",
        {**IDS, "d_model": 32, "num_layers": 2, "attention_heads": 2, "ffn_dim": 48},
    ),
    "bert-generation": ("BertGenerationDecoder", {**USUAL, "is_decoder": True}),
    "lfm2": (
        "Lfm2ForCausalLM",
        {**GROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    ),
    "recurrent_gemma": (
        "RecurrentGemmaForCausalLM",
        {**HEAD_SIZE, "lru_width": 32, "block_types": ["recurrent", "attention"]}
        | {"attention_window_size": 16},
    ),
    # No transformers.
    "mamba": ("MambaForCausalLM", {**IDS, "hidden_size": 32, "num_hidden_layers": 2}),
    "mamba2": (
        "Mamba2ForCausalLM",
        {**IDS, "hidden_size": 32, "num_hidden_layers": 2, "num_heads": 4, "head_dim": 16}
        | {"state_size": 8, "n_groups": 1, "chunk_size": 8},
    ),
    "rwkv": (
        "RwkvForCausalLM",
        {**IDS, "hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2}
        | {"context_length": 64},
    ),
}
ENCODER_DECODERS = {
    "t5": ("T5", T5),
    "mt5": ("MT5", T5),
    "umt5": ("UMT5", T5),
    "bart": ("Bart", BART),
    "mbart": ("MBart", BART),
    "plbart": ("PLBart", BART),
    "mvp": ("Mvp", BART),
    "bigbird_pegasus": (
        "BigBirdPegasus",
        {**BART, "block_size": 4, "num_random_blocks": 1},
    ),
}
CAUSAL_CLASS = {
    "gpt2": "GPT2LMHeadModel",
    "openai-gpt": "OpenAIGPTLMHeadModel",
    "ctrl": "CTRLLMHeadModel",
    "gemma3_text": "Gemma3ForCausalLM",
}


def _table() -> dict[str, tuple[str, dict]]:
    """Return class and configuration of every model; decoders come with both heads."""
    table = {}
    for name, (stem, options) in {**ENCODERS, **DECODERS, **ENCODER_DECODERS}.items():
        table[name] = (f"{stem}ForSequenceClassification", options)
    for name, (stem, options) in DECODERS.items():
        table[f"{name}-causal"] = (CAUSAL_CLASS.get(name, f"{stem}ForCausalLM"), options)
    return table | CAUSAL_ONLY


ARCHITECTURES = _table()


def build(name: str, folder: Path) -> str:
    """Write a tiny model of an architecture, and a tokenizer, into a folder; return its path.

    Weights are drawn from one seed, large enough for the logits to move.
    """
    kind, options = ARCHITECTURES[name]
    model_class = getattr(transformers, kind)
    torch.manual_seed(0)
    config = model_class.config_class(**options)
    if hasattr(config, "initializer_range"):
        config.initializer_range = 0.2
    model = model_class(config)
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.15)
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            module.weight.data[module.padding_idx] = 0  # as it is when it was trained so
    body = model.state_dict()
    if "Classification" in kind:  # whose head is never pretrained
        heads = tuple(f"{head}." for head in head_names(model))
        body = {key: value for key, value in body.items() if not key.startswith(heads)}
    model.save_pretrained(folder, state_dict=body)
    # Transformers reads every tokenizer of a Qwen2 as a byte-level one.
    pieces = ["Ġ", *ascii_lowercase] if kind.startswith("Qwen2For") else WORDS
    padding, classifier = options.get("pad_token_id", PAD), "Classification" in kind
    _tokenizer(pieces, padding, classifier).save_pretrained(folder)
    return str(folder)


def _tokenizer(pieces: list[str], padding: int, classifier: bool):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[UNK]", "[CLS]", "[SEP]"]
    special.insert(padding, "[PAD]")
    vocabulary = {piece: at for at, piece in enumerate([*special, *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if classifier:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", START), ("[SEP]", END)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
    )


# The checks


@dataclass
class Row:
    """What came of one architecture.

    Parameters
    ----------
    name, head : str
    modules : int
        How many were scored.
    shown : dict of str to str
        By check, what the table shows.
    refusals, faults : dict of str to str
        By check: the sentence, or what went wrong.
    """

    name: str
    head: str
    modules: int = 0
    shown: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


CHECKS = ("loads", "padding", "estimators", "PEFT read-back", "fine-tunes")


def examine(name: str, folder: Path) -> Row:
    """Build an architecture's tiny model in an empty folder, and try all checks on it."""
    model = build(name, folder)
    classifier = "Classification" in ARCHITECTURES[name][0]
    row = Row(name, "classification" if classifier else "causal")
    bundle = _try(row, "loads", lambda: (load_model(model), "yes"))
    if bundle is None:
        return row
    _try(row, "padding", lambda: _padding(bundle))
    scores = _try(row, "estimators", lambda: _estimators(bundle))
    if scores is None:  # for what comes after, the one estimator that may still work
        scores = _try(Row(name, ""), "", lambda: (score(bundle, TEXTS, estimator="paired"), ""))
    if scores is None:
        return row
    row.modules = len(scores.modules)
    plan = allocate(scores, average_rank=3)
    _try(row, "PEFT read-back", lambda: _read_back(load_model(model), plan))
    if classifier:
        _try(row, "fine-tunes", lambda: _fine_tunes(model, plan, folder / "out"))
    return row


class _Wrong(Exception):
    """A check came out wrong, without an error."""


def _try(row: Row, check: str, run: Callable):
    """Run a check that returns a result and what to show; note what it ends in."""
    try:
        result, row.shown[check] = run()
        return result
    except AdaRankError as error:
        row.refusals[check] = str(error)
    except _Wrong as error:
        row.faults[check] = str(error)
    except Exception as error:  # whatever an architecture makes the libraries raise
        first = str(error).strip().split("\n")[0][:160]
        row.faults[check] = f"{type(error).__name__}: {first}"
    return None


def _padding(bundle: ModelBundle):
    """Compare texts' logits alone and together, padded."""
    model = prepared(bundle, seed=0)
    texts = [" ".join((WORDS * 2)[at : at + length]) for at, length in enumerate(LENGTHS)]

    def logits(items):
        [batch] = encode(bundle, as_texts(items))
        return logits_of(model, batch)

    with torch.inference_mode():
        alone, together = torch.cat([logits([text]) for text in texts]), logits(texts)
    differ = float((alone - together).abs().max())
    apart = float((alone[:-1] - alone[-1]).abs().max())
    if not differ <= SAME_LOGITS:
        raise _Wrong(f"logits differ by {differ:.2g} (the texts' by {apart:.2g})")
    if not apart > 10 * SAME_LOGITS:
        raise _Wrong(f"texts have the same logits, up to {apart:.2g}")
    return differ, f"{differ:.0e}"


def _estimators(bundle: ModelBundle):
    """Hold both estimators against each other: t-tests over seeds, of modules and of their mean.

    A seed draws the head too, the same for both, so that their difference has mean 0. Noise 1.5
    times too large shows in language models, less surely where a head is drawn; what an
    architecture breaks is for `_check_noise`, which is exact.
    """

    def scores(seed, estimator, trials, precision="auto"):
        options = {"seed": seed, "trials": trials, "precision": precision}
        return score(bundle, TEXTS, estimator=estimator, **options)

    def table(found):
        return np.array([[module.score for module in one.modules] for one in found])

    found = [scores(seed, "fast", INSTANCES, "float32") for seed in range(SEEDS)]
    _check_noise(bundle)
    names = [module.name for module in found[0].modules]
    fast, paired = table(found), table(scores(seed, "paired", PAIRS) for seed in range(SEEDS))
    # What falls back to the very same passes has no difference to test.
    differ = ~np.isclose(paired, fast, rtol=1e-4, atol=0).all(axis=0)
    relative = (fast - paired)[:, differ] / paired[:, differ].mean(axis=0)
    z, of_model = _z(relative), float(_z(relative.mean(axis=1))) if differ.any() else 0.0
    worst = float(np.abs(z).max(initial=0))
    figures = f"{worst:.1f} (model {of_model:+.1f})"
    if not (worst <= MOST_Z and abs(of_model) <= MOST_Z_OF_MODEL):
        low, high = 1 + relative.mean(axis=0).min(), 1 + relative.mean(axis=0).max()
        raise _Wrong(f"|z| {figures}; fast is {low:.2f} to {high:.2f} of paired")
    with mock.patch("adarank_core.scoring.options.bf16_is_native", lambda _device: True):
        rough = table([scores(0, "fast", INSTANCES)])[0]
    off = np.abs(rough - fast[0]) / fast[0].mean()
    if not off.max() <= SAME_SCORE:
        raise _Wrong(
            f"in bfloat16 the score of {names[off.argmax()]} is off by {off.max():.0%} of the mean"
        )
    zeros = int((fast == 0).all(axis=0).sum())
    return found[0], figures + (f", {zeros} score 0" if zeros else "")


def _z(differences: np.ndarray) -> np.ndarray:
    """Return the normal number as unlikely as the t-statistic over seeds, the first axis."""
    t = stats.ttest_1samp(differences, 0).statistic
    return np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), len(differences) - 1))


def _check_noise(bundle: ModelBundle) -> None:
    """Hold noise on a module's weight against how it is scored: after its output, and going on."""
    model = prepared(bundle, seed=0)
    [batch] = encode(bundle, as_texts(TEXTS))
    names = [module.name for module in adaptable_modules(model)]
    with torch.inference_mode():
        recording = Recording(model, batch, names, logits_of)
        replayed = recording.faithful(names)
        for name in names:
            layer = model.get_submodule(name)
            clean = layer.weight
            noise = weight_noise(clean, 1.0, generator_for(0, name))
            layer.weight = torch.nn.Parameter(clean + noise, requires_grad=False)
            written = logits_of(model, batch)
            layer.weight = clean
            with add_to_output(layer, noise):
                found = {"as a term on its output": logits_of(model, batch)}
            if name in replayed and recording.is_replayable(name):
                right = noise.T if isinstance(layer, torch.nn.Linear) else noise
                added = (recording.input_of(name) @ right)[:, None].repeat(1, 2, 1, 1)
                found["going on from it"] = recording.logits_with({name: added})[name][:, 1]
            moved = float((written - recording.logits).abs().max())
            for how, logits in found.items():
                off = float((logits - written).abs().max())
                if not off <= 1e-5 + 0.01 * moved:
                    raise _Wrong(
                        f"noise on the weight of {name} moves logits by {moved:.2g}; {how} they "
                        f"are {off:.2g} off"
                    )


def _read_back(bundle: ModelBundle, plan):
    """Build the plan's adapter as training does, and read back what PEFT adapted and how."""
    from peft.tuners.lora import LoraLayer

    ranks = {name: rank for name, rank in plan.ranks.items() if rank}
    planned = {name: (rank, plan.alpha[name] / rank) for name, rank in ranks.items()}
    model = adapted(bundle, plan).base_model.model
    built = {
        name: (module.r["default"], module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and "default" in module.r
    }
    if built != planned:
        missing, more = sorted(planned.keys() - built), sorted(built.keys() - planned)
        other = [name for name in planned.keys() & built if built[name] != planned[name]]
        raise _Wrong(
            f"of {len(planned)} planned modules {len(missing)} have no LoRA ({missing[:1]}) and "
            f"{len(other)} another ({other[:1]}); {len(more)} have LoRA unplanned ({more[:1]})"
        )
    return built, f"{len(built)} modules, ranks {min(ranks.values())} to {max(ranks.values())}"


def _task() -> Task:
    """Return 24 rows to train on and 8 to validate and test: is the animal good or bad?"""
    draw = np.random.default_rng(0)
    neutral = [word for word in WORDS if word not in ("good", "bad")]
    rows = []
    for at in range(40):
        words = list(draw.choice(neutral, draw.integers(2, 9)))
        words.insert(draw.integers(len(words) + 1), ("bad", "good")[at % 2])
        rows.append((" ".join(words), at % 2))
    table = pd.DataFrame(rows, columns=["text", "label"])
    parts = [table[a:b].reset_index(drop=True) for a, b in ((0, 24), (24, 32), (32, 40))]
    return Task("tiny", ("bad", "good"), *parts)


def _fine_tunes(model: str, plan, output: Path):
    """Train two steps in bfloat16 and in float32, and measure the latter's adapter again."""
    from peft import PeftModel

    task = _task()
    settings = Settings(steps=2, batch_size=8, max_length=32, evaluations=1)
    native, results = "adarank_core.training.finetuning.bf16_is_native", []
    for lower in (False, True):
        with mock.patch(native, lambda _device, lower=lower: lower):
            try:
                out = output / str(lower)
                results.append(finetune(model, task, plan, settings, output=out))
            except Exception as error:
                if lower and not isinstance(error, AdaRankError):
                    error.args = (f"in bfloat16 alone: {error}",)
                raise
    planned = {m.name: m for m in adaptable_modules(load_model(model).model)}
    sizes = {name: planned[name].in_features + planned[name].out_features for name in plan.ranks}
    parameters = sum(rank * sizes[name] for name, rank in plan.ranks.items())
    bundle = load_model(model, head="classification")
    adapted = PeftModel.from_pretrained(bundle.model, output / "False" / "adapter").eval()
    losses = []
    with torch.inference_mode():  # each text alone, so that nothing is padded
        for text, label in zip(task.test["text"], task.test["label"], strict=True):
            [batch] = encode(bundle, as_texts([text]), settings.max_length)
            logits = logits_of(adapted, batch)
            losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor([label]))))
    loss, told = sum(losses) / len(losses), results[0]["test_loss"]
    wrong = []
    if not abs(loss - told) <= SAME_LOSS:
        wrong.append(f"the test loss is {told:.4f}, but the saved adapter's is {loss:.4f}")
    if results[0]["lora_parameters"] != parameters:
        found = results[0]["lora_parameters"]
        wrong.append(f"there are {found} LoRA parameters, but the plan's are {parameters}")
    if wrong:
        raise _Wrong("; ".join(wrong))
    return results, "yes"


# The table


def markdown(rows: list[Row]) -> str:
    """Return rows as a Markdown table, the refusals' sentences and the faults below it."""
    head = ["architecture", "head", "modules", *CHECKS[1:]]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    notes = []
    for row in rows:
        cells = [row.name, row.head, str(row.modules or "–")]
        for check in CHECKS[1:]:
            refused = row.refusals.get(check) or row.refusals.get("loads")
            fault = row.faults.get(check) or row.faults.get("loads")
            cells.append(
                "**fault**" if fault else "refused" if refused else row.shown.get(check, "–")
            )
        lines.append("| " + " | ".join(cells) + " |")
        notes += [f"- {row.name}, {c}: refused: {said}" for c, said in row.refusals.items()]
        notes += [f"- {row.name}, {c}: fault: {said}" for c, said in row.faults.items()]
    return "\n".join([*lines, "", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="architectures; all if none are named")
    asked = parser.parse_args().names
    unknown = sorted(set(asked) - set(ARCHITECTURES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(ARCHITECTURES)}")
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    rows = []
    for name in asked or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(examine(name, Path(folder)))
        print(name, file=sys.stderr, flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
