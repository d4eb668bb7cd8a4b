"""Algorithm 2 of the paper: how far apart two noisy models' logits are, module by module."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from adarank_core.errors import AdaRankError
from adarank_core.machine import bf16_is_native
from adarank_core.models import (
    AdaptableModule,
    ModelBundle,
    adaptable_modules,
    fresh_head,
    longest_text,
)
from adarank_core.noise import (
    activation_noise,
    add_to_output,
    generator_for,
    input_factor,
    weight_noise,
)
from adarank_core.replay import Recording, private_copy
from adarank_core.scores import ModuleScore, Scores
from adarank_core.texts import Texts, as_texts

__all__ = ["Progress", "encode", "logits_of", "mean_and_error", "prepared", "score", "score_iter"]

BATCH_SIZE = 16
# A pass of the fast estimator holds at most this many tokens: more is no faster, only larger.
PASS_TOKENS = 8192
# Tokenizers keep padding and truncation as state, and sessions share them with the model.
TOKENIZING = threading.Lock()
TRIALS = {"paired": 5, "fast": 8}


@dataclass(frozen=True)
class Progress:
    """How far scoring has come.

    Parameters
    ----------
    done, total : int
        Steps taken so far, and in all; a step is one module on one batch of texts.
    scores : Scores
        Of the modules scored so far; the last one yielded is the result.
    """

    done: int
    total: int
    scores: Scores


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
    estimator: str = "fast",
    mode: str = "paper",
    noise_scale: float = 1.0,
    modules: str | None = None,
    seed: int = 0,
    max_length: int = 128,
    precision: str = "auto",
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
        noisy instances, of which all pairs count (default 8).
    estimator : {"fast", "paired"}
        Two estimators of the same ``d_m``. ``"paired"`` is the paper to the letter: pairs of
        models with the same noise for all texts, two full forward passes a pair. ``"fast"`` runs
        only what follows the noisy module, draws the noise where the module meets its inputs
        (`adarank_core.noise.activation_noise`), anew for every text, runs all instances as one
        batch and compares all of them with each other.
    mode : {"paper"}
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
    if mode != "paper":
        raise AdaRankError(f"mode is {mode!r}; only 'paper' is built yet")
    trials = TRIALS[estimator] if trials is None else trials
    if trials < 2:
        raise AdaRankError(f"trials is {trials}; an error bar needs at least 2")
    if not 0 < noise_scale < float("inf"):
        raise AdaRankError(f"noise_scale is {noise_scale}; it must be a number above 0")
    if not -(2**63) <= seed < 2**63:
        raise AdaRankError(f"seed is {seed}; it must fit into 64 bits")
    if precision not in ("auto", "float32", "bfloat16"):
        raise AdaRankError(f"precision is {precision!r}; it must be auto, float32 or bfloat16")
    chosen = _matching(adaptable_modules(bundle.model), modules)
    lengths = _lengths(bundle, texts, max_length)
    origin = {"source": texts.source, "count": len(texts), "sha256": texts.sha256}
    so_far = Scores(bundle.name, mode, estimator, float(noise_scale), seed, origin, (), trials)
    if estimator == "paired":
        return _paired(bundle, chosen, encode(bundle, texts, max_length), so_far)
    order = sorted(range(len(texts)), key=lambda at: lengths[at])
    sorted_texts = Texts(texts.source, tuple(texts.items[at] for at in order))
    batches = encode(bundle, sorted_texts, max_length)
    if precision == "auto":
        precision = "bfloat16" if bf16_is_native() else "float32"
    return _fast(bundle, chosen, batches, order, precision, so_far)


def _paired(
    bundle: ModelBundle, chosen: Sequence[AdaptableModule], batches: list[dict], so_far: Scores
) -> Iterator[Progress]:
    model, results = prepared(bundle, so_far.seed), []
    for module in chosen:
        with torch.inference_mode():
            distances = _paired_distances(model, module.name, batches, so_far)
        results.append(_module_score(module, *mean_and_error(distances)))
        yield Progress(len(results), len(chosen), replace(so_far, modules=tuple(results)))


def _paired_distances(
    model: nn.Module, name: str, batches: list[dict], options: Scores
) -> np.ndarray:
    """Return trials × texts L1 distances of one module."""
    layer = model.get_submodule(name)

    def noisy_logits(instance):
        generator = generator_for(options.seed, name, instance)
        noise = weight_noise(layer.weight, options.noise_scale, generator)
        with add_to_output(layer, noise):
            return torch.cat([logits_of(model, batch) for batch in batches])

    distances = [
        (noisy_logits(2 * trial) - noisy_logits(2 * trial + 1)).abs().sum(dim=1)
        for trial in range(options.trials)
    ]
    return torch.stack(distances).double().cpu().numpy()


def _fast(
    bundle: ModelBundle,
    chosen: Sequence[AdaptableModule],
    batches: list[dict],
    order: list[int],
    precision: str,
    so_far: Scores,
) -> Iterator[Progress]:
    model = prepared(bundle, so_far.seed)
    names = [module.name for module in chosen]
    # By module: the mean distance of each text so far, and its variance over instances.
    means = {name: np.empty(0) for name in names}
    variances = {name: np.empty(0) for name in names}
    done = 0
    for number, batch in enumerate(batches):
        positions = order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
        with _computing(model, precision):
            recording = Recording(model, batch, names, logits_of)
            factors = _Factors(recording, batch["attention_mask"])
        for name in names:
            with _computing(model, precision):
                if recording.is_replayable(name):
                    logits = _noisy_logits(recording, factors, name, positions, so_far)
                    mean, variance = all_pairs(logits)
                else:
                    # A module that several layers share has no single place to go on from.
                    distances = _paired_distances(model, name, [batch], so_far)
                    mean = distances.mean(axis=0)
                    variance = distances.var(axis=0, ddof=1) / len(distances)
            means[name] = np.append(means[name], mean)
            variances[name] = np.append(variances[name], variance)
            done += 1
            results = tuple(
                _module_score(module, *_over_texts(means[module.name], variances[module.name]))
                for module in chosen
                if len(means[module.name])
            )
            yield Progress(done, len(names) * len(batches), replace(so_far, modules=results))


class _Factors:
    """The input factor of the newest input: query, key and value share one."""

    def __init__(self, recording: Recording, mask: torch.Tensor):
        self.recording, self.mask = recording, mask
        self.inputs = self.factor = None

    def of(self, name: str) -> torch.Tensor:
        inputs = self.recording.input_of(name)
        same = self.inputs is not None and self.inputs.data_ptr() == inputs.data_ptr()
        if not same or self.inputs.shape != inputs.shape:
            fitting = self.mask.shape[1] == inputs.shape[1]
            mask = self.mask if fitting else torch.ones(inputs.shape[:2], device=inputs.device)
            self.inputs, self.factor = inputs, input_factor(inputs, mask)
        return self.factor


def _noisy_logits(
    recording: Recording, factors: _Factors, name: str, positions: list[int], options: Scores
) -> torch.Tensor:
    """Return texts × instances × logits of one module, each text with noise of its own."""
    weight = recording.model.get_submodule(name).weight
    is_linear = isinstance(recording.model.get_submodule(name), nn.Linear)
    factor = factors.of(name)
    tokens = factor.shape[1]
    lengths = (factor.diagonal(dim1=1, dim2=2) > 0).sum(dim=1).tolist()
    deviation = options.noise_scale * weight.double().std()
    noise = activation_noise(
        factor * deviation,
        lengths,
        weight.shape[0] if is_linear else weight.shape[1],
        options.trials,
        [generator_for(options.seed, name, 0, text) for text in positions],
        torch.promote_types(weight.dtype, torch.float32),
    )
    step = max(1, PASS_TOKENS // (len(lengths) * tokens))
    parts = [recording.logits_with(name, part) for part in noise.split(step, dim=1)]
    return torch.cat(parts, dim=1)


def all_pairs(logits: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return each text's mean distance over all pairs of instances, and its variance.

    Parameters
    ----------
    logits : torch.Tensor
        texts × instances × logits; at least 2 instances.

    Returns
    -------
    tuple of numpy.ndarray
        Means and variances, one a text, float64. The variance is the jackknife's over instances;
        with 2 instances, which leave nothing to jackknife, it is that of the distance of two
        normal numbers, ``(pi / 2 - 1) * mean²``.

    Examples
    --------
    >>> all_pairs(torch.tensor([[[0.0], [1.0], [3.0]]]))
    (array([2.]), array([1.33333333]))
    """
    distances = torch.cdist(logits.double(), logits.double(), p=1)
    count = logits.shape[1]
    by_instance = distances.sum(dim=2)
    total = by_instance.sum(dim=1)
    mean = total / (count * (count - 1))
    if count == 2:
        variance = (np.pi / 2 - 1) * mean**2
    else:
        without = (total[:, None] - 2 * by_instance) / ((count - 1) * (count - 2))
        variance = (count - 1) / count * ((without - mean[:, None]) ** 2).sum(dim=1)
    return mean.cpu().numpy(), variance.cpu().numpy()


def _over_texts(means: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    """Return the mean over texts and its standard error, from texts and instances.

    The texts' noise is independent, so the variance of their means holds both sources; with few
    texts it may fall below that of the instances alone, which then counts.
    """
    count = len(means)
    from_instances = variances.sum() / count**2
    from_both = means.var(ddof=1) / count if count > 1 else 0.0
    return float(means.mean()), float(max(from_instances, from_both) ** 0.5)


def prepared(bundle: ModelBundle, seed: int) -> nn.Module:
    """Return a private copy of a model, in evaluation mode and with the head of the seed.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> bundle = load_model("embedded")
    >>> prepared(bundle, seed=0).base_model.pooler.dense.weight is (
    ...     bundle.model.base_model.pooler.dense.weight)
    True
    """
    model = private_copy(bundle.model)
    for name, head in fresh_head(bundle.model, seed).items():
        setattr(model, name, head)
    return model


@contextmanager
def _computing(model: nn.Module, precision: str) -> Iterator[None]:
    """Compute without gradients; in float32 models, with matrix products as asked."""
    lower = precision == "bfloat16" and next(model.parameters()).dtype == torch.float32
    with (
        torch.inference_mode(),
        torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=lower),
    ):
        yield


def encode(bundle: ModelBundle, texts: Texts, max_length: int = 128) -> list[dict]:
    """Tokenise texts into padded batches, in the texts' order.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts
    max_length : int
        Longer texts are cut to this many tokens, or to what the model reads.

    Returns
    -------
    list of dict
        Each with ``input_ids`` and ``attention_mask``, int64 tensors of texts × tokens on the
        model's device, padded on the right.

    Raises
    ------
    AdaRankError
        If ``max_length`` is below 1, if a single sentence is longer than what the model reads, or
        if a text has no tokens.

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
    for start in range(0, len(texts), BATCH_SIZE):
        items = list(texts.items[start : start + BATCH_SIZE])
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
    with TOKENIZING:
        rows = bundle.tokenizer(list(texts.items), verbose=False)["input_ids"]
    lengths = [len(row) for row in rows]
    if texts.source == "sentence" and lengths[0] > limit:
        raise AdaRankError(
            f"the sentence has {lengths[0]:,} tokens and the model reads at most {limit}; "
            "shorten it"
        )
    if 0 in lengths:
        empty = texts.items[lengths.index(0)]
        raise AdaRankError(f"the text {empty!r} has no tokens for this model; write words")
    return lengths


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
    logits = model(**batch).logits
    if logits.dim() == 3:
        last = batch["attention_mask"].sum(dim=1) - 1
        logits = logits[torch.arange(len(last), device=last.device), last]
    return logits if logits.dtype == torch.float64 else logits.float()


def mean_and_error(distances: np.ndarray) -> tuple[float, float]:
    """Return the mean of a trials × texts table and its standard error.

    Both trials and texts are samples: the error is that of a two-way layout,
    ``Var = s²_trials / n + s²_texts / m - s²_residual / (n m)``, with ``s²_trials`` the variance
    of the trials' means (and so on). With one text it is that of the trials alone.

    Parameters
    ----------
    distances : numpy.ndarray
        n trials × m texts, n at least 2.

    Returns
    -------
    tuple of float
        Mean and standard error, in the unit of ``distances``.

    Examples
    --------
    >>> mean_and_error(np.array([[1.0], [3.0]]))
    (2.0, 1.0)
    """
    trials, texts = distances.shape
    mean = distances.mean()
    from_trials = distances.mean(axis=1).var(ddof=1) / trials
    if texts == 1:
        return float(mean), float(from_trials**0.5)
    from_texts = distances.mean(axis=0).var(ddof=1) / texts
    residual = distances - distances.mean(axis=1, keepdims=True) - distances.mean(axis=0) + mean
    shared = (residual**2).sum() / ((trials - 1) * (texts - 1)) / (trials * texts)
    variance = max(from_trials + from_texts - shared, from_trials, from_texts)
    return float(mean), float(variance**0.5)


def _module_score(module: AdaptableModule, score: float, error: float) -> ModuleScore:
    if not np.isfinite(score):
        raise AdaRankError(
            f"the logits are not finite when {module.name!r} is noisy; the weights may be broken, "
            "or noise_scale too large"
        )
    return ModuleScore(**vars(module), score=score, standard_error=error)


def _matching(modules: Sequence[AdaptableModule], pattern: str | None) -> list[AdaptableModule]:
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
