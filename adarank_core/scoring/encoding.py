"""From texts to what a model reads and to the logits that count, for scoring and for training."""

import inspect
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.scoring.options import check_max_length

if TYPE_CHECKING:  # which builds on this file
    from adarank_core.scoring.models import ModelBundle

__all__ = [
    "check_known",
    "encode",
    "has_classification_head",
    "lengths_of",
    "logits_of",
    "longest_text",
    "padded",
    "rounding",
    "tokenised",
]

BATCH_SIZE = 16
# Tokenizers keep truncation as state, and sessions share them with the model.
TOKENIZING = threading.Lock()
# What a model reads, and what some read besides.
INPUTS, TYPES = ("input_ids", "attention_mask"), "token_type_ids"
# What configurations call the number of positions that a model has.
POSITIONS = ("max_position_embeddings", "max_seq_len")


def encode(
    bundle: "ModelBundle", texts: Texts, max_length: int = 128, batch_size: int = BATCH_SIZE
) -> list[dict]:
    """Tokenise texts into padded batches, in the texts' order.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts
    max_length : int
        Longer texts are cut to this many tokens, or to what the model reads.
    batch_size : int

    Returns
    -------
    list of dict
        Each with ``input_ids`` and ``attention_mask`` (and what else `tokenised` gives), int64
        tensors of texts × tokens on the model's device, padded on the side that the model was
        found to need when it was loaded.

    Raises
    ------
    AdaRankError
        If ``max_length`` is below 1, if a single sentence is longer than what the model reads, if
        a text has no tokens, or if no text has any but the special ones; and as `tokenised` does.

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> encode(load_model("embedded"), sentence("What is a rank?"))[0]["input_ids"].shape
    torch.Size([1, 7])
    """
    lengths_of(bundle, texts, max_length)  # refuses what the model cannot read
    rows = tokenised(bundle, texts.items, max_length)
    return [
        padded(bundle, {key: value[start : start + batch_size] for key, value in rows.items()})
        for start in range(0, len(texts), batch_size)
    ]


def tokenised(bundle: "ModelBundle", texts: Sequence[str], max_length: int) -> dict[str, list]:
    """Tokenise texts as the model reads them, without padding.

    Parameters
    ----------
    bundle : ModelBundle
    texts : sequence of str
    max_length : int
        Longer texts are cut to this many tokens, or to what the model reads.

    Returns
    -------
    dict of str to list of list of int
        ``input_ids`` and ``attention_mask``, one row a text, and ``token_type_ids`` where a model
        is told of some (XLNet's and Funnel's classification token has a type of its own).

    Raises
    ------
    AdaRankError
        If ``max_length`` leaves no room beside the special tokens, if a text has a token that the
        model does not know, or an end token within it that the model would take for the text's end.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> tokenised(load_model("embedded"), ["A rank."], 8)["attention_mask"]
    [[1, 1, 1, 1, 1]]
    """
    longest = min(max_length, longest_text(bundle))
    special = bundle.tokenizer.num_special_tokens_to_add()
    if longest <= special:
        raise AdaRankError(
            f"texts are cut to {longest} tokens, of which {special} are special ones: no word "
            f"would be left; give a longer max_length, or a model that reads more than {special}"
        )
    with TOKENIZING:
        rows = bundle.tokenizer(
            list(texts),
            truncation=True,
            max_length=longest,
            return_attention_mask=True,
            return_token_type_ids=TYPES in bundle.tokenizer.model_input_names,
        )
    known, end = known_tokens(bundle.model), _end_token(bundle.model)
    for text, ids in zip(texts, rows["input_ids"], strict=True):
        if known is not None and ids and max(ids) >= known:
            raise AdaRankError(
                f"the text {text!r} has the token {max(ids)}, but the model has {known:,} tokens; "
                "give a tokenizer and a model that belong together"
            )
        if end is not None and ids.count(end) > 1:
            token = bundle.tokenizer.convert_ids_to_tokens(end)
            raise AdaRankError(
                f"the text {text!r} holds {token!r}, which this model takes for a text's end; take "
                "it out"
            )
    return {key: rows[key] for key in (*INPUTS, TYPES) if key in rows}


def padded(bundle: "ModelBundle", rows: dict[str, list]) -> dict[str, torch.Tensor]:
    """Make one batch of tokenised texts, padded on the tokenizer's side, on the model's device.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> bundle = load_model("embedded")
    >>> padded(bundle, tokenised(bundle, ["A rank.", "A"], 8))["attention_mask"][1]
    tensor([1, 1, 1, 0, 0])
    """
    batch = bundle.tokenizer.pad(rows, return_tensors="pt", verbose=False)
    return {key: batch[key].to(bundle.model.device) for key in rows}


def lengths_of(bundle: "ModelBundle", texts: Texts, max_length: int) -> list[int]:
    """Return each text's number of tokens before it is cut, refusing what the model cannot read."""
    limit = longest_text(bundle)
    check_max_length(max_length)
    with TOKENIZING:
        rows = bundle.tokenizer(list(texts.items), verbose=False)
    lengths = [len(row) for row in rows["input_ids"]]
    if texts.source == "sentence" and lengths[0] > limit:
        raise AdaRankError(
            f"the sentence has {lengths[0]:,} tokens and the model reads at most {limit}; "
            "shorten it"
        )
    if 0 in lengths:
        empty = texts.items[lengths.index(0)]
        raise AdaRankError(f"the text {empty!r} has no tokens for this model; write words")
    check_known(bundle, texts.items, rows["input_ids"])
    return lengths


def check_known(bundle: "ModelBundle", texts: Sequence[str], rows: Sequence[list[int]]) -> None:
    """Refuse texts of which the tokenizer knows nothing: each would be read as the same marks.

    Parameters
    ----------
    bundle : ModelBundle
    texts : sequence of str
    rows : sequence of list of int
        Their tokens.

    Raises
    ------
    AdaRankError
        If no text has a token but special ones, of which "unknown" is one.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> check_known(load_model("embedded"), ["A rank."], [[101, 1037, 4635, 1012, 102]])
    """
    special = set(bundle.tokenizer.all_special_ids)
    if rows and all(special.issuperset(row) for row in rows):
        raise AdaRankError(
            f"none of the {len(rows):,} texts has a word that the model's tokenizer knows (the "
            f"first is {texts[0]!r}); write words, or give a tokenizer that belongs to them"
        )


def longest_text(bundle: "ModelBundle") -> int:
    """Return how many tokens the model reads at most.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> longest_text(load_model("embedded"))
    512
    """
    limits = [bundle.tokenizer.model_max_length]
    for name in POSITIONS:
        positions = getattr(bundle.model.config, name, None)
        if isinstance(positions, int) and positions > 0:  # XLNet says -1: there is no limit
            limits.append(positions - _first_position(bundle.model))
    return min(limits)


def _first_position(model: nn.Module) -> int:
    """Return where a model begins to count: RoBERTa and its kin do after the padding token."""
    padding = getattr(getattr(model.base_model, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else padding + 1


def known_tokens(model: nn.Module) -> int | None:
    """Return how many tokens a model knows; None where its embedding is no table.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> known_tokens(load_model("embedded").model)
    30522
    """
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return getattr(table, "num_embeddings", None)


def _end_token(model: nn.Module) -> int | None:
    """Return the token at which an encoder-decoder reads off its class, or None."""
    config = model.config
    reads_end = has_classification_head(model) and getattr(config, "is_encoder_decoder", False)
    return getattr(config, "eos_token_id", None) if reads_end else None


def has_classification_head(model: nn.Module) -> bool:
    """Tell a sequence classifier from a language model.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> has_classification_head(load_model("embedded").model)
    True
    """
    return type(model).__name__.endswith("ForSequenceClassification")


def rounding(model: nn.Module) -> float:
    """Return by how much equal logits may differ, over the largest: a model's type rounds them.

    Examples
    --------
    >>> rounding(nn.Linear(2, 2)), rounding(nn.Linear(2, 2).bfloat16())
    (0.0001, 0.03125)
    """
    return max(1e-4, 4 * torch.finfo(next(model.parameters()).dtype).eps)


def logits_of(model: nn.Module, batch: dict) -> torch.Tensor:
    """Return the logits that count: texts × labels, or texts × vocabulary at the last real token.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    batch : dict
        As `encode` makes it.

    Returns
    -------
    torch.Tensor
        float32 or float64; never a lower precision.
    """
    mask = batch["attention_mask"]
    at = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
    if not getattr(model, "gives_all_logits", False) and _can_keep_few_logits(type(model)):
        # A vocabulary is large: no logits at tokens that are last in no text.
        last, at = at.unique(return_inverse=True)
        logits = model(**batch, logits_to_keep=last).logits
    else:
        logits = model(**batch).logits
    if logits.dim() == 3 and not getattr(model, "gives_all_logits", False):
        logits = logits[torch.arange(len(at), device=at.device), at]
    return logits if logits.dtype == torch.float64 else logits.float()


@cache
def _can_keep_few_logits(model_class: type) -> bool:
    """Tell whether a model can be asked for the logits at some tokens only.

    A classifier that takes the argument, as BioGPT's does, still looks for a text's last token.
    """
    classifies = model_class.__name__.endswith("ForSequenceClassification")
    return not classifies and "logits_to_keep" in inspect.signature(model_class.forward).parameters
