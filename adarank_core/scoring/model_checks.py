"""Do model, tokenizer and configuration belong together? Asked once, when a model is loaded.

A checkpoint's files can disagree without any error: another padding token, padding on the left, a
mask that nobody asks for; and a text's logits then hang on the texts beside it. So some texts of
unlike length are read alone and together. Where that gives other logits, what can be mended is
mended, and else the model is refused with what differs.
"""

import inspect
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import nn

from adarank_core.checks import is_number
from adarank_core.errors import AdaRankError
from adarank_core.scoring.encoding import (
    INPUTS,
    TYPES,
    has_classification_head,
    known_tokens,
    logits_of,
    padded,
    rounding,
    tokenised,
)
from adarank_core.scoring.heads import fresh_head, head_names

if TYPE_CHECKING:  # which builds on this file
    from adarank_core.scoring.models import ModelBundle

__all__ = ["check_model", "check_no_adapter", "padding_difference"]

# Of 1 to 8 words and of 20, each with other words first and last: some models read tokens in
# groups, and go wrong at some lengths only. Common words, which small vocabularies have too.
WORDS = "the old cat sat on a red mat and not very good dog ran under the new sun in rain"
WORDS = WORDS.split()
TRIAL = (*(" ".join((WORDS * 2)[n : 2 * n]) for n in range(1, 9)), " ".join(WORDS))
LONGEST_TRIAL = 24  # tokens
SAME = 1e-6  # of the largest logit: rounding
NO_LIMIT = 10**30  # tokens: what transformers takes where a tokenizer has no limit


def check_model(bundle: "ModelBundle") -> None:
    """Make a loaded model and its tokenizer agree, or refuse them.

    Parameters
    ----------
    bundle : ModelBundle
        Its tokenizer's padding and its model's configuration may be changed.

    Raises
    ------
    AdaRankError
        If the model carries an adapter, if weights are missing or not finite, if the tokenizer has
        tokens that the model has not, if a text's logits depend on the padding beside it, or if
        unlike texts have the same logits.
    """
    check_no_adapter(bundle)
    _check_complete(bundle)
    _check_finite(bundle)
    check_decoder_start(bundle.name, bundle.model)
    if bundle.task_type == "SEQ_CLS":
        # A stored one, such as regression, is what the checkpoint was trained for before.
        bundle.model.config.problem_type = "single_label_classification"
    _check_vocabulary(bundle)
    if not is_number(bundle.tokenizer.model_max_length, above=0):
        bundle.tokenizer.model_max_length = NO_LIMIT  # a file may hold anything
    # With the head as scoring draws it: a random one as it was made need not tell texts apart.
    fresh = fresh_head(bundle, seed=0)
    stored = {name: bundle.model.get_submodule(name) for name in fresh}
    try:
        for name, layer in fresh.items():
            bundle.model.set_submodule(name, layer)
        _check_texts_differ(bundle, _settle_padding(bundle))
    finally:
        for name, layer in stored.items():
            bundle.model.set_submodule(name, layer)


def padding_difference(bundle: "ModelBundle") -> float:
    """Return by how much padding moves a text's logits, over the largest logit.

    Some texts are read alone, and together in one padded batch.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> padding_difference(load_model("embedded")) < 1e-4
    True
    """
    return _read_trial(bundle)[1]


def _read_trial(bundle: "ModelBundle") -> tuple[torch.Tensor, float]:
    """Return the logits of texts read alone (texts × logits), and how far padding moves them."""
    rows = tokenised(bundle, TRIAL, LONGEST_TRIAL)
    one_by_one = [{key: [value[at]] for key, value in rows.items()} for at in range(len(TRIAL))]
    with torch.inference_mode():
        together = logits_of(bundle.model, padded(bundle, rows))
        alone = torch.cat([logits_of(bundle.model, padded(bundle, row)) for row in one_by_one])
    return alone, float((together - alone).abs().max() / alone.abs().max().clamp(min=1e-12))


def _check_texts_differ(bundle: "ModelBundle", alone: torch.Tensor) -> None:
    """Refuse a model to which all texts are one, as where attention needs a compiled kernel."""
    rows = tokenised(bundle, TRIAL, LONGEST_TRIAL)
    if len(set(map(frozenset, rows["input_ids"]))) == 1:
        return  # to the tokenizer these texts are one
    if (alone - alone[0]).abs().max() <= SAME * alone.abs().max():
        raise AdaRankError(
            f"the model {bundle.name!r} gives unlike texts the same logits: nothing could be "
            "scored; it may need a compiled kernel that this machine has not"
        )


def check_decoder_start(name: str, model: nn.Module) -> None:
    """Refuse a model whose decoder nobody can start: it would fail at its first text."""
    config = model.config
    start = getattr(config, "decoder_start_token_id", None)
    if getattr(config, "is_encoder_decoder", False) and start is None:
        raise AdaRankError(
            f"the configuration of {name!r} has no decoder_start_token_id; set it to the token "
            "that the decoder starts with"
        )


def check_no_adapter(bundle: "ModelBundle") -> None:
    """Refuse a model with LoRA in it, which transformers loads without being asked.

    Raises
    ------
    AdaRankError

    Examples
    --------
    >>> from adarank_core import load_model
    >>> check_no_adapter(load_model("embedded"))
    """
    if any("lora_A" in name for name, _ in bundle.model.named_modules()):
        raise AdaRankError(
            f"{bundle.name!r} also holds an adapter, whose LoRA would be scored and trained as if "
            "it were the model's; give the base model alone, or merge the adapter into it"
        )


def _check_complete(bundle: "ModelBundle") -> None:
    """Refuse a checkpoint that left weights at random, but for a classifier's head and a pooler."""
    heads = tuple(f"{name}." for name in head_names(bundle.model))
    classifies = has_classification_head(bundle.model)
    for key in sorted(bundle.random or ()):
        if key.startswith(heads) and not classifies:
            raise AdaRankError(
                f"the model {bundle.name!r} has no trained language model's head ({key!r} is not "
                "among its weights); use it with the head 'classification'"
            )
        if not key.startswith(heads) and ".pooler." not in key:
            raise AdaRankError(
                f"the model {bundle.name!r} cannot be loaded: its weights are incomplete ({key!r} "
                "is missing or of another shape)"
            )


def _check_finite(bundle: "ModelBundle") -> None:
    for name, weight in bundle.model.named_parameters():
        if not weight.isfinite().all():
            raise AdaRankError(
                f"the weight {name!r} of {bundle.name!r} holds numbers that are not finite; the "
                "checkpoint is broken"
            )


def _check_vocabulary(bundle: "ModelBundle") -> None:
    """Refuse a tokenizer that is larger than the model, but for a padding token of its own."""
    known, tokenizer = known_tokens(bundle.model), bundle.tokenizer
    vocabulary = tokenizer.get_vocab()
    if known is None or not vocabulary:
        return
    beyond = [token for token, number in vocabulary.items() if number >= known]
    if beyond == [tokenizer.pad_token] and tokenizer.eos_token not in (None, *beyond):
        tokenizer.pad_token = tokenizer.eos_token
    elif beyond:
        raise AdaRankError(
            f"the tokenizer of {bundle.name!r} has {len(vocabulary):,} tokens and the model "
            f"{known:,} ({beyond[0]!r} is beyond them); give a tokenizer and a model that belong "
            "together"
        )


def _settle_padding(bundle: "ModelBundle") -> torch.Tensor:
    """Give model and tokenizer one padding token and side with which padding moves no logits.

    The right side is tried first; XLNet's classifier reads the last position and needs the left.
    Returns the logits of the trial's texts, each read alone.
    """
    tokenizer, stored = bundle.tokenizer, getattr(bundle.model.config, "pad_token_id", None)
    tokenizer.model_input_names = [*INPUTS, TYPES] if _tells_types(bundle) else [*INPUTS]
    candidates = [tokenizer.pad_token, _token(bundle, stored), tokenizer.eos_token]
    candidates = list(dict.fromkeys(token for token in candidates if token is not None))
    if not candidates:
        raise AdaRankError(
            f"the tokenizer of {bundle.name!r} has neither a padding nor an end token"
        )
    problem = ""
    for side, token in product(("right", "left"), candidates):
        tokenizer.padding_side, tokenizer.pad_token = side, token
        bundle.model.config.pad_token_id = tokenizer.pad_token_id
        try:
            alone, difference = _read_trial(bundle)
        except AdaRankError:
            raise
        except Exception as error:  # a model may raise whatever it stumbles over
            first = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
            problem = problem or f"it cannot read some texts together ({first[:200]})"
            continue
        if difference <= rounding(bundle.model):
            return alone
        problem = problem or f"padding changes a text's logits by {difference:.1%} of the largest"
    raise AdaRankError(
        f"the model {bundle.name!r} cannot be used: {problem}; it needs texts of one length, or "
        "its tokenizer and configuration do not belong together"
    )


def _tells_types(bundle: "ModelBundle") -> bool:
    """Tell whether a model reads tokens' types, and its tokenizer gives other ones than 0."""
    if TYPES not in inspect.signature(type(bundle.model).forward).parameters:
        return False
    if TYPES not in bundle.tokenizer.model_input_names:
        return False
    return any(map(any, bundle.tokenizer(list(TRIAL), return_token_type_ids=True)[TYPES]))


def _token(bundle: "ModelBundle", number) -> str | None:
    """Return the token of a stored padding number, where both tokenizer and model have it."""
    known = known_tokens(bundle.model)
    if type(number) is not int or number < 0 or (known is not None and number >= known):
        return None
    return bundle.tokenizer.convert_ids_to_tokens(number)
