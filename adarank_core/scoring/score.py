"""Algorithm 2 of the paper: how far apart two noisy models' logits are, module by module."""

import re
import threading
from collections.abc import Iterator, Sequence

import torch

from adarank_core.data.texts import Texts, as_texts
from adarank_core.errors import AdaRankError
from adarank_core.hardware import bf16_is_native
from adarank_core.scoring.estimators import BATCH_SIZE, Progress, fast, logits_of, paired, prepared
from adarank_core.scoring.models import (
    AdaptableModule,
    ModelBundle,
    adaptable_modules,
    check_decoder_start,
    longest_text,
)
from adarank_core.scoring.notebook import notebook
from adarank_core.scoring.partial_forward import private_copy
from adarank_core.scoring.scores import Scores

__all__ = ["Progress", "encode", "logits_of", "matching", "prepared", "score", "score_iter"]

MODES = ("paper", "notebook", "notebook-accumulating")
# Tokenizers keep padding and truncation as state, and sessions share them with the model.
TOKENIZING = threading.Lock()
TRIALS = {"paired": 5, "fast": 8}
# Of few texts more noisy instances are taken by default, so that a module is seen about this often.
NOISY_TEXTS, MOST_TRIALS = 128, 32
# With a tolerance, instances come in rounds of this many.
ROUND = 4


def score(bundle: ModelBundle, texts: Texts | Sequence[str], **options) -> Scores:
    """Score every adaptable module of a model; see `score_iter` for the options.

    Returns
    -------
    Scores

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> scores = score(load_model("embedded"), sentence("What is a rank?"), trials=2, seed=0)
    >>> len(scores.modules), scores.modules[0].score > 0
    (36, True)
    """
    *_, last = score_iter(bundle, texts, **options)
    return last.scores


def score_iter(
    bundle: ModelBundle,
    texts: Texts | Sequence[str],
    *,
    trials: int | None = None,
    tolerance: float | None = None,
    average_rank: float = 8,
    estimator: str = "fast",
    mode: str = "paper",
    scan: str = "forward",
    noise_scale: float = 1.0,
    modules: str | None = None,
    seed: int = 0,
    max_length: int = 128,
    precision: str = "auto",
    logits: str = "last",
) -> Iterator[Progress]:
    """Score a model's modules one after another, yielding after each step.

    Algorithm 2 of the paper: ``d_m = E over E1, E2 of mean over x of
    ||f(x; W + E1) - f(x; W + E2)||_1``, with ``f`` the logits, all other weights frozen and
    ``E1``, ``E2`` independent Gaussian noise of standard deviation ``noise_scale * std(W)``.

    Parameters
    ----------
    bundle : ModelBundle
        Never written; the generator can be closed at any point.
    texts : Texts or sequence of str
    trials : int, optional
        At least 2. For ``"paired"`` independent pairs of noisy models (default 5), for ``"fast"``
        noisy instances, of which all pairs count (default: 128 over the number of texts, but
        from 8 to 32). In the notebook's modes, single noisy models (default 5).
    tolerance : float, optional
        In place of ``trials``, for ``"fast"``: instances are added, four at a time, until the
        rank that would change most with other noise is expected to change by no more than this
        many ranks (`scoring.error_bars.expected_rank_change`), or there are 128. How many it
        took is in ``Scores.trials``.
    average_rank : float
        The budget of those ranks.
    estimator : {"fast", "paired"}
        Two estimators of the same ``d_m``. ``"paired"`` is the paper to the letter: pairs of
        models with the same noise for all texts, two full forward passes a pair. ``"fast"`` runs
        only what follows the noisy module, draws the noise where the module meets its inputs
        (`scoring.noise.activation_noise`), anew for every text, runs all instances as one
        batch and compares all of them with each other.
    mode : {"paper", "notebook", "notebook-accumulating"}
        The latter two are the published notebook with and without a real reset; see
        `adarank_core.scoring.notebook.notebook`. They have no fast estimator.
    scan : {"forward", "reversed"}
        Order of the layers in the notebook's modes.
    noise_scale : float
        Above 0.
    modules : str, optional
        Regular expression; only modules whose full name it matches somewhere are scored.
    seed : int
        Draws the noise and, for a sequence classifier, the head.
    max_length : int
        Longer texts are cut to this many tokens.
    precision : {"auto", "float32", "bfloat16"}
        Of the fast estimator's matrix products; ``"auto"`` takes bfloat16 where the machine
        computes in it natively. Noise, its factors and differences are never below float32.
    logits : {"last", "all"}
        Of a causal language model: those at the last real token, or those at all of them, a
        text's distance then being the mean over its tokens. Padding never counts. All of them
        take memory: texts × instances × tokens × vocabulary of a batch at once.

    Returns
    -------
    iterator of Progress

    Raises
    ------
    AdaRankError
        On bad options (at once), or if the logits are not finite (while scoring).

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> steps = score_iter(load_model("embedded"), sentence("What is a rank?"), trials=2)
    >>> next(steps).done
    1
    >>> steps.close()
    """
    texts = as_texts(texts)
    if estimator not in TRIALS:
        raise AdaRankError(f"estimator is {estimator!r}; it must be 'paired' or 'fast'")
    if mode not in MODES:
        raise AdaRankError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
    if scan not in ("forward", "reversed"):
        raise AdaRankError(f"scan is {scan!r}; it must be 'forward' or 'reversed'")
    if tolerance is not None:
        if trials is not None or estimator != "fast" or mode != "paper":
            raise AdaRankError(
                "tolerance works with the fast estimator in mode 'paper', and in place of trials"
            )
        if not 0 < tolerance < float("inf"):
            raise AdaRankError(f"tolerance is {tolerance}; it must be a number of ranks above 0")
        if not 0 < average_rank < float("inf"):
            raise AdaRankError(f"average_rank is {average_rank}; it must be above 0")
        trials = ROUND
    if mode != "paper":
        estimator = "paired"
    if trials is None:
        trials = TRIALS[estimator]
        if estimator == "fast":
            trials = max(trials, min(MOST_TRIALS, NOISY_TEXTS // len(texts)))
    if trials < 2:
        raise AdaRankError(f"trials is {trials}; an error bar needs at least 2")
    if not 0 < noise_scale < float("inf"):
        raise AdaRankError(f"noise_scale is {noise_scale}; it must be a number above 0")
    if not -(2**63) <= seed < 2**63:
        raise AdaRankError(f"seed is {seed}; it must fit into 64 bits")
    if precision not in ("auto", "float32", "bfloat16"):
        raise AdaRankError(f"precision is {precision!r}; it must be auto, float32 or bfloat16")
    if logits not in ("last", "all"):
        raise AdaRankError(f"logits is {logits!r}; it must be 'last' or 'all'")
    if logits == "all":
        bundle = _with_all_tokens(bundle)
    chosen = matching(adaptable_modules(bundle.model), modules)
    lengths = _lengths(bundle, texts, max_length)
    origin = {"source": texts.source, "count": len(texts), "sha256": texts.sha256}
    so_far = Scores(
        bundle.name,
        mode,
        estimator,
        float(noise_scale),
        seed,
        origin,
        (),
        trials,
        logits,
        bundle.task_type,
    )
    if mode != "paper":
        batches = encode(bundle, texts, max_length)
        return notebook(bundle, chosen, batches, scan, so_far)
    if estimator == "paired":
        return paired(bundle, chosen, encode(bundle, texts, max_length), so_far)
    order = sorted(range(len(texts)), key=lambda at: lengths[at])
    by_length = Texts(texts.source, tuple(texts.items[at] for at in order))
    batches = encode(bundle, by_length, max_length)
    if precision == "auto":
        precision = "bfloat16" if bf16_is_native() else "float32"
    return fast(bundle, chosen, batches, order, precision, so_far, tolerance, average_rank)


def encode(
    bundle: ModelBundle, texts: Texts, max_length: int = 128, batch_size: int = BATCH_SIZE
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
        Each with ``input_ids`` and ``attention_mask``, int64 tensors of texts × tokens on the
        model's device, padded on the right.

    Raises
    ------
    AdaRankError
        If ``max_length`` is below 1, if a single sentence is longer than what the model reads, if
        a text has no tokens, or if no text has any but the special ones.

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> encode(load_model("embedded"), sentence("What is a rank?"))[0]["input_ids"].shape
    torch.Size([1, 7])
    """
    _lengths(bundle, texts, max_length)  # refuses what the model cannot read
    longest = min(max_length, longest_text(bundle))
    device = bundle.model.device
    batches = []
    for start in range(0, len(texts), batch_size):
        items = list(texts.items[start : start + batch_size])
        with TOKENIZING:
            tokens = bundle.tokenizer(
                items,
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
        batches.append({key: tokens[key].to(device) for key in ("input_ids", "attention_mask")})
    return batches


def _lengths(bundle: ModelBundle, texts: Texts, max_length: int) -> list[int]:
    """Return each text's number of tokens, refusing what the model cannot read."""
    limit = longest_text(bundle)
    if max_length < 1:
        raise AdaRankError(f"max_length is {max_length}; it must be at least 1")
    check_decoder_start(bundle.name, bundle.model)
    with TOKENIZING:
        # 1 where the tokenizer added a token, 0 at the text's own.
        rows = bundle.tokenizer(list(texts.items), verbose=False, return_special_tokens_mask=True)
    lengths = [len(row) for row in rows["input_ids"]]
    if texts.source == "sentence" and lengths[0] > limit:
        raise AdaRankError(
            f"the sentence has {lengths[0]:,} tokens and the model reads at most {limit}; "
            "shorten it"
        )
    if 0 in lengths:
        empty = texts.items[lengths.index(0)]
        raise AdaRankError(f"the text {empty!r} has no tokens for this model; write words")
    if all(map(all, rows["special_tokens_mask"])):
        raise AdaRankError(
            f"none of the texts has a token for this model (the first is {texts.items[0]!r}); "
            "write words"
        )
    return lengths


def _with_all_tokens(bundle: ModelBundle) -> ModelBundle:
    """Return a bundle whose model puts the logits at all tokens of a text into one row.

    They are divided by the text's number of tokens, and 0 at padding: the L1 distance of two rows
    is the mean over tokens of the L1 distance over the vocabulary.
    """
    if type(bundle.model).__name__.endswith("ForSequenceClassification"):
        raise AdaRankError(
            f"logits is 'all', but {bundle.name!r} has a classification head, which gives each "
            "text one row of them; use 'last', or the head 'causal'"
        )
    model = private_copy(bundle.model)

    def flatten(_model, _args, batch, output):
        mask, logits = batch["attention_mask"], output.logits
        logits = logits if logits.dtype == torch.float64 else logits.float()
        padding = mask[:, :, None] == 0
        by_token = logits.masked_fill(padding, 0) / mask.sum(dim=1)[:, None, None]
        output.logits = by_token.flatten(start_dim=1)
        return output

    model.register_forward_hook(flatten, with_kwargs=True)
    model.gives_all_logits = True  # `logits_of` asks other causal models for few
    return ModelBundle(model, bundle.tokenizer, bundle.name)


def matching(modules: Sequence[AdaptableModule], pattern: str | None) -> list[AdaptableModule]:
    """Return the modules whose full name a regular expression matches somewhere, or all.

    Raises
    ------
    AdaRankError
        If the pattern is no regular expression, or matches no module.

    Examples
    --------
    >>> query, value = (AdaptableModule(name, 0, name, 8, 8) for name in ("query", "value"))
    >>> [module.name for module in matching([query, value], "^v")]
    ['value']
    """
    if pattern is None:
        return list(modules)
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise AdaRankError(f"modules is {pattern!r}, no regular expression ({error})") from None
    chosen = [module for module in modules if expression.search(module.name)]
    if not chosen:
        raise AdaRankError(
            f"modules is {pattern!r}, which matches none of the {len(modules)} modules; "
            f"one of them is {modules[0].name!r}"
        )
    return chosen
